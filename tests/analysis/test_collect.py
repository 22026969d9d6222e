import csv
import io
import json
import math

import pytest

from abcrl.analysis import (
    ArmInfo,
    CellCurve,
    Contrast,
    FailedCell,
    result_rows,
    summarise,
    to_json,
)

ABC = ArmInfo("abc", "abc", 0.8, 0.95)
RLHF = ArmInfo("rlhf", "rlhf", None, 0.95)
RLHF_1 = ArmInfo("rlhf-lambda-1", "rlhf", None, 1.0)


def cell(arm: ArmInfo, seed: int, *scores: float, gold: bool = True) -> CellCurve:
    """A curve evaluated at steps 0, 10, 20, ...; gold score and KL follow from the score."""
    metrics = {
        "eval/score": scores,
        "eval/kl_exact": tuple(2.0 * index for index in range(len(scores))),
        "eval/length": tuple(40.0 + seed for _ in scores),
    }
    if gold:
        metrics["eval/gold_score"] = tuple(score / 2 for score in scores)
    return CellCurve(arm.name, seed, tuple(10 * index for index in range(len(scores))), metrics)


# Steps 0, 10, 20. AUC of (a, b, c) is (a / 2 + b + c / 2) / 2: seed 1 of abc (0, 1, 2) has 1,
# seed 2 (1, 2, 4) has 2.25; rlhf (0, 0.5, 1) has .5 and (1, 1, 2) has 1.25.
CURVES = [
    cell(RLHF, 2, 1.0, 1.0, 2.0),
    cell(ABC, 1, 0.0, 1.0, 2.0),
    cell(ABC, 2, 1.0, 2.0, 4.0),
    cell(RLHF, 1, 0.0, 0.5, 1.0),
]
CONTRASTS = [Contrast("abc", "rlhf")]


def test_arms_by_hand():
    abc, rlhf = summarise([ABC, RLHF], CURVES, CONTRASTS).arms
    assert abc.arm is ABC
    assert abc.seeds == (1, 2)
    assert abc.auc.values == (1.0, 2.25)
    assert abc.auc.mean == abc.auc.median == 1.625
    # s of 1 and 2.25 is 1.25 / sqrt 2; over sqrt 2: .625.
    assert abc.auc.standard_error == pytest.approx(0.625)
    assert abc.finals["score"].values == (2.0, 4.0)
    assert abc.finals["gold_score"].values == (1.0, 2.0)
    assert abc.finals["kl_exact"].mean == 4.0
    assert abc.finals["length"].mean == 41.5
    assert rlhf.auc.values == (0.5, 1.25)


def test_contrasts_are_on_the_auc_of_paired_seeds():
    (contrast,) = summarise([ABC, RLHF], CURVES, CONTRASTS).contrasts
    assert contrast.seeds == (1, 2)
    assert contrast.differences == (0.5, 1.0)


def test_the_sft_model_is_the_evaluation_at_step_0():
    summary = summarise([ABC, RLHF], CURVES, CONTRASTS)
    assert summary.baseline_score == 0.5
    assert summary.baseline_gold_score == 0.25


def test_rows_of_the_table_of_results():
    rows = result_rows(summarise([ABC, RLHF], CURVES, CONTRASTS))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("abc", 1),
        ("abc", 2),
        ("rlhf", 1),
        ("rlhf", 2),
    ]
    assert rows[1] == {
        "arm": "abc",
        "mode": "abc",
        "beta": 0.8,
        "gae_lambda": 0.95,
        "seed": 2,
        "status": "finished",
        "auc": 2.25,
        "collapsed": False,
        "final_score": 4.0,
        "final_gold_score": 2.0,
        "final_kl_exact": 4.0,
        "final_length": 42.0,
        "reason": "",
    }
    assert rows[2]["beta"] is None


def test_failed_and_missing_cells_are_counted_and_left_out_of_the_pairs():
    curves = [
        *(cell(ABC, seed, 0.0, 1.0, 2.0) for seed in (1, 2, 4)),
        *(cell(RLHF, seed, 0.0, 0.5, 1.0) for seed in (1, 3, 4)),
    ]
    failed = [FailedCell("abc", 3, "failed", "loss is not finite at step 7")]
    summary = summarise([ABC, RLHF], curves, CONTRASTS, failed)
    assert summary.contrasts[0].seeds == (1, 4)
    assert [(one.arm.name, one.seed, one.status, one.reason) for one in summary.failed] == [
        ("abc", 3, "failed", "loss is not finite at step 7"),
        ("rlhf", 2, "missing", ""),
    ]
    assert [arm.failed for arm in summary.arms] == [1, 1]
    assert "2 of 8 cells without a result" in summary.verdicts[0]
    assert [row["status"] for row in result_rows(summary)] == [
        "finished",
        "finished",
        "failed",
        "finished",
        "finished",
        "missing",
        "finished",
        "finished",
    ]
    assert result_rows(summary)[2]["auc"] is None


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (cell(ABC, 3, 0.0, math.nan, 2.0), "eval/score is not finite"),
        (cell(ABC, 3, 0.0, 1.0), "evaluated from step 0 to 10, the others from 0 to 20"),
        (CellCurve("abc", 3, (), {}), "no evaluation: no row has eval/score"),
    ],
)
def test_a_curve_that_cannot_be_compared_counts_as_failed(curve, reason):
    summary = summarise([ABC, RLHF], [*CURVES, curve, cell(RLHF, 3, 0, 1, 2)], CONTRASTS)
    (failed,) = summary.failed
    assert (failed.seed, failed.status, failed.reason) == (3, "failed", reason)
    assert summary.contrasts[0].seeds == (1, 2)


def test_works_without_any_gold_score():
    curves = [cell(arm, seed, 0.0, 1.0, 2.0, gold=False) for arm in (ABC, RLHF) for seed in (1, 2)]
    summary = summarise([ABC, RLHF], curves, CONTRASTS)
    assert "gold_score" not in summary.arms[0].finals
    assert summary.baseline_gold_score is None
    assert "final_gold_score" not in result_rows(summary)[0]


def test_a_gold_score_that_one_cell_lacks_is_none_there():
    curves = [cell(ABC, 1, 0.0, 1.0), cell(ABC, 2, 0.0, 1.0, gold=False)]
    summary = summarise([ABC], curves, [])
    assert summary.arms[0].finals["gold_score"].values == (0.5, None)
    assert summary.arms[0].finals["gold_score"].mean == 0.5
    assert [row["final_gold_score"] for row in result_rows(summary)] == [0.5, None]


def test_works_when_nothing_finished():
    failed = [FailedCell(arm.name, 1, "failed", "no disk") for arm in (ABC, RLHF)]
    summary = summarise([ABC, RLHF], [], CONTRASTS, failed)
    assert summary.arms[0].auc.mean is None
    assert summary.baseline_score is None
    assert summary.verdicts[0].startswith("no seed finished in both abc and rlhf")
    assert len(result_rows(summary)) == 2
    json.dumps(to_json(summary), allow_nan=False)


def test_verdicts_name_lambda_and_the_kl_that_was_spent():
    scores = [0.5, 0.2, 0.4, 0.1, 0.3, 0.3, 0.2, 0.5]
    curves = [cell(RLHF, seed, 0.0, 0.0) for seed in range(8)]
    curves += [cell(ABC, seed, score, score) for seed, score in enumerate(scores)]
    curves += [cell(RLHF_1, seed, score, score) for seed, score in enumerate(scores)]
    contrasts = [Contrast("abc", "rlhf"), Contrast("rlhf-lambda-1", "rlhf")]
    verdicts = summarise([ABC, RLHF, RLHF_1], curves, contrasts).verdicts
    assert verdicts == (
        "abc is higher than rlhf by 0.31 ± 0.12 "
        "(95 % interval; p = .016, Holm; 8 pairs; lambda 0.95; final KL 2.0 against 2.0)",
        "rlhf-lambda-1 is higher than rlhf by 0.31 ± 0.12 "
        "(95 % interval; p = .016, Holm; 8 pairs; lambda 1 against 0.95; "
        "final KL 2.0 against 2.0)",
    )


def test_the_summary_does_not_depend_on_the_order_of_the_cells():
    forwards = summarise([ABC, RLHF], CURVES, CONTRASTS)
    assert summarise([ABC, RLHF], CURVES[::-1], CONTRASTS) == forwards


def test_the_summary_survives_json_and_the_rows_survive_csv():
    summary = summarise([ABC, RLHF], [*CURVES, cell(ABC, 3, math.nan)], CONTRASTS)
    loaded = json.loads(json.dumps(to_json(summary), allow_nan=False))
    assert loaded["arms"][0]["auc"]["values"] == [1.0, 2.25]
    assert loaded["contrasts"][0]["differences"] == [0.5, 1.0]
    assert loaded["contrasts"][0]["verdict"] == summary.verdicts[0]
    assert loaded["arms"][0]["collapsed"] == []
    # The smallest largest KL is 4; abc's scores at 2 nats are those of step 10.
    assert [one["kl"] for one in loaded["equal_kl"]] == [1.0, 2.0, 3.0]
    assert loaded["equal_kl"][1]["scores"]["abc"] == {"1": 1.0, "2": 2.0}
    assert loaded["arrivals"]["baseline"] == "rlhf"
    assert loaded["failed"][0] == {
        "arm": "abc",
        "seed": 3,
        "status": "failed",
        "reason": "eval/score is not finite",
    }
    rows = result_rows(summary)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=rows[0])
    writer.writeheader()
    writer.writerows(rows)  # refuses a row with other columns than the first
    assert len(out.getvalue().splitlines()) == 1 + len(rows)


def test_unknown_arms_and_repeated_cells_are_refused():
    with pytest.raises(ValueError, match="received 'uniform'"):
        summarise([ABC], [cell(ABC, 1, 0.0)], [Contrast("abc", "uniform")])
    with pytest.raises(ValueError, match="received 'rlhf'"):
        summarise([ABC], CURVES, [])
    with pytest.raises(ValueError, match="abc seed 1 twice"):
        summarise([ABC], [cell(ABC, 1, 0.0)], [], [FailedCell("abc", 1, "failed")])
