import json
import math

import pytest

from abcrl.analysis import CellCurve, Contrast, FailedCell, Finding, result_rows, summarise, to_json
from tests.analysis.made_up_cells import ABC, CONTRASTS, CURVES, RLHF, RLHF_1, cell


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


def test_unknown_arms_and_repeated_cells_are_refused():
    with pytest.raises(ValueError, match="received 'uniform'"):
        summarise([ABC], [cell(ABC, 1, 0.0)], [Contrast("abc", "uniform")])
    with pytest.raises(ValueError, match="received 'rlhf'"):
        summarise([ABC], CURVES, [])
    with pytest.raises(ValueError, match="abc seed 1 twice"):
        summarise([ABC], [cell(ABC, 1, 0.0)], [], [FailedCell("abc", 1, "failed")])


def test_a_missing_cell_is_imputed_before_a_verdict():
    # abc's AUC is .2 above rlhf's in each of eight seeds, but seeds 2 and 4 did not finish.
    curves = [cell(RLHF, seed, seed / 10, seed / 10) for seed in range(8)]
    curves += [cell(ABC, seed, seed / 10 + 0.2, seed / 10 + 0.2) for seed in range(8)]
    lost = [curve for curve in curves if curve.arm == "abc" and curve.seed in {2, 4}]
    kept = [curve for curve in curves if curve not in lost]
    failed = [FailedCell("abc", curve.seed, "failed") for curve in lost]
    summary = summarise([ABC, RLHF], kept, CONTRASTS, failed)
    assert summary.contrasts[0].missing == (2, 4)
    assert summary.contrasts[0].finding is Finding.UNDECIDED
    # The six pairs that are there would have carried it.
    assert summarise([ABC, RLHF], curves, CONTRASTS).contrasts[0].finding is Finding.HIGHER


def test_a_run_that_ended_below_the_sft_model_is_counted_and_named():
    curves = [
        *(cell(ABC, seed, 1.0, 0.5, 0.25) for seed in (1, 2)),
        cell(ABC, 3, 1.0, 1.5, 2.0),
        *(cell(RLHF, seed, 1.0, 1.5, 2.0) for seed in (1, 2)),
        cell(RLHF, 3, 1.0, 0.0, 0.0),
    ]
    summary = summarise([ABC, RLHF], curves, CONTRASTS)
    assert [arm.collapsed for arm in summary.arms] == [(1, 2), (3,)]
    marked = [(row["arm"], row["seed"]) for row in result_rows(summary) if row["collapsed"]]
    assert marked == [("abc", 1), ("abc", 2), ("rlhf", 3)]
    assert "; abc collapsed in 2 of 3 runs; rlhf collapsed in 1 of 3 runs)" in summary.verdicts[0]


def test_no_arm_is_said_to_have_collapsed_where_none_has():
    assert "collapsed" not in summarise([ABC, RLHF], CURVES, CONTRASTS).verdicts[0]


def test_equal_kl_and_arrivals_are_those_of_the_cells_that_count():
    # Seed 3 of abc was evaluated at fewer steps: its KL of 2 does not set the levels.
    summary = summarise([ABC, RLHF], [*CURVES, cell(ABC, 3, 0.0, 1.0)], CONTRASTS)
    assert summary.equal_kl.smallest == "abc seed 1"
    assert [level.kl for level in summary.equal_kl.levels] == [1.0, 2.0, 3.0]
    assert summary.equal_kl.levels[1].scores == {"abc": {1: 1.0, 2: 2.0}, "rlhf": {1: 0.5, 2: 1.0}}
    # The SFT model scores .5, rlhf ends at 1.5 on average: the mark is 1.4. abc is there after 14
    # steps in seed 1, 4 in seed 2; rlhf never in seed 1, after 14 in seed 2.
    (arrivals,) = summary.arrivals
    assert arrivals.threshold == pytest.approx(1.4)
    assert arrivals.mean("abc") == pytest.approx(9.0)
    assert arrivals.mean("rlhf") == pytest.approx(17.0)
    assert arrivals.censored("rlhf") == 1
    assert arrivals.contrasts[0].differences == pytest.approx((-6.0, -10.0))


def test_without_contrasts_there_is_no_baseline():
    summary = summarise([ABC, RLHF], CURVES, [])
    assert (summary.baseline, summary.baselines, summary.differences) == (None, {}, {})
    assert summary.arrivals == ()
    assert len(summary.equal_kl.levels) == 3


def test_the_baseline_of_the_tables_is_that_of_the_first_contrast():
    curves = [*CURVES, *(cell(RLHF_1, seed, 0.0, 1.0, 1.5) for seed in (1, 2))]
    contrasts = [Contrast("rlhf-lambda-1", "rlhf"), Contrast("abc", "rlhf-lambda-1")]
    summary = summarise([ABC, RLHF, RLHF_1], curves, contrasts)
    assert summary.baseline == "rlhf"
    assert summary.baselines == {"abc": "rlhf", "rlhf-lambda-1": "rlhf"}
    assert summary.differences["abc"].differences == (0.5, 1.0)
