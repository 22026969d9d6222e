"""What summary.json and results.csv say."""

import csv
import io
import json
import math
from typing import Any

from abcrl.analysis import Contrast, Margin, Summary, result_rows, summarise, to_json
from tests.analysis.made_up_cells import ABC, CONTRASTS, CURVES, RLHF, cell


def as_json(summary: Summary) -> dict[str, Any]:
    return json.loads(json.dumps(to_json(summary), allow_nan=False))  # type: ignore[no-any-return]


def test_the_summary_survives_json_and_the_rows_survive_csv():
    summary = summarise([ABC, RLHF], [*CURVES, cell(ABC, 3, math.nan)], CONTRASTS)
    loaded = as_json(summary)
    assert loaded["arms"][0]["auc"]["values"] == [1.0, 2.25]
    assert loaded["contrasts"][0]["differences"] == [0.5, 1.0]
    assert loaded["contrasts"][0]["verdict"] == summary.verdicts[0]
    assert loaded["arms"][0]["collapsed"] == []
    # The smallest largest KL is 4; abc's scores at 2 nats are those of step 10.
    assert loaded["equal_kl"]["smallest"] == "abc seed 1"
    levels = loaded["equal_kl"]["levels"]
    assert [one["kl"] for one in levels] == [1.0, 2.0, 3.0]
    assert levels[1]["scores"]["abc"] == {"1": 1.0, "2": 2.0}
    assert [one["baseline"] for one in loaded["arrivals"]] == ["rlhf"]
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


def keys_of(value: object) -> set[str]:
    """Of all dicts in it, at any depth."""
    if isinstance(value, dict):
        return {*value, *(key for one in value.values() for key in keys_of(one))}
    return {key for one in value for key in keys_of(one)} if isinstance(value, list) else set()


def test_only_declared_contrasts_carry_a_verdict():
    loaded = as_json(summarise([ABC, RLHF], CURVES, CONTRASTS))
    judged = {"p_value", "adjusted_p", "finding", "family", "equivalence", "detectable", "verdict"}
    assert judged <= keys_of(loaded["contrasts"])
    for described in ("against_baseline", "equal_kl", "arrivals"):
        assert "differences" in keys_of(loaded[described])
        assert not judged & keys_of(loaded[described])


def test_margins_and_equivalence_name_their_parts():
    noise = (0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.1)
    curves = [cell(RLHF, seed, float(seed), float(seed)) for seed in range(8)]
    for seed, one in enumerate(noise):
        score = seed + 0.02 + one / 10
        curves.append(cell(ABC, seed, score, score))
    stated = [
        Contrast("abc", "rlhf", Margin(0.1)),
        Contrast("rlhf", "abc", Margin(1.0, ("rlhf", "abc"))),
    ]
    shown, held_back = as_json(summarise([ABC, RLHF], curves, stated))["contrasts"]
    assert shown["margin"] == {"size": 0.1, "of": None}
    assert shown["equivalence"]["shown"] is True
    assert shown["equivalence"]["margin"] == {"size": 0.1, "of": None}
    assert set(shown["equivalence"]["interval"]) == {"low", "high"}
    assert held_back["margin"] == {"size": 1.0, "of": ["rlhf", "abc"]}
    assert held_back["equivalence"] is None
    assert held_back["not_tested"] == "rlhf - abc is -0.021, and a share of that is no margin"


def test_it_says_what_everything_is_conditional_on():
    def condition(*models: str) -> str:
        curves = [
            cell(arm, seed, 0.0, 1.0, inputs={"reward_model": model})
            for arm, seed, model in zip((ABC, RLHF, ABC, RLHF), (1, 1, 2, 2), models, strict=True)
        ]
        return str(as_json(summarise([ABC, RLHF], curves, CONTRASTS))["conditional_on"])

    assert condition("a", "a", "a", "a").startswith("one SFT model and one reward model")
    assert condition("a", "a", "b", "b").startswith("2 reward models: cells with the same seed")
    assert condition("a", "a", "a", "b").endswith("cells with the same seed differ in reward_model")
    assert as_json(summarise([ABC], [], []))["conditional_on"].startswith("one SFT model")


def test_baselines_are_named():
    loaded = as_json(summarise([ABC, RLHF], [*CURVES, cell(ABC, 3, math.nan)], CONTRASTS))
    assert loaded["baselines"] == {"abc": "rlhf"}
    assert loaded["baseline"] == {"score": 0.5, "gold_score": 0.25}
