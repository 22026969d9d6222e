import math

import pytest

from abcrl.analysis import CellCurve
from abcrl.analysis.curves import mean_at_start

ROWS: list[dict[str, float | int | None]] = [
    {"step": 0, "eval/score": -1.0, "eval/gold_score": 0.1, "eval/kl_exact": 0.0},
    {"step": 1, "objective/score": -0.9},
    {"step": 2, "objective/score": -0.5, "eval/score": 0.0, "eval/gold_score": None},
    {"step": 4, "eval/score": 1.0, "eval/gold_score": 0.3, "eval/kl_exact": 6.0},
]


def test_rows_of_a_run_become_a_curve_of_its_evaluations():
    curve = CellCurve.from_rows("abc", 3, ROWS)
    assert (curve.arm, curve.seed) == ("abc", 3)
    assert curve.steps == (0, 2, 4)
    assert curve.metrics["eval/score"] == (-1.0, 0.0, 1.0)
    assert set(curve.metrics) == {"eval/score", "eval/gold_score", "eval/kl_exact"}


def test_what_a_row_lacks_is_not_a_number():
    curve = CellCurve.from_rows("abc", 3, ROWS)
    for name in ("eval/gold_score", "eval/kl_exact"):
        assert [math.isnan(value) for value in curve.metrics[name]] == [False, True, False]


def test_last_is_the_last_evaluation_or_none():
    curve = CellCurve.from_rows("abc", 3, ROWS[:3])
    assert curve.last("eval/score") == 0.0
    assert curve.last("eval/gold_score") is None
    assert curve.last("eval/length") is None


def test_rows_without_an_evaluation_give_an_empty_curve():
    curve = CellCurve.from_rows("abc", 3, ROWS[1:2])
    assert curve.steps == ()
    assert curve.last("eval/score") is None


def test_the_sft_model_is_the_mean_at_step_0():
    curves = [
        CellCurve("abc", 1, (0, 5), {"eval/score": (1.0, 9.0)}),
        CellCurve("abc", 2, (0, 5), {"eval/score": (2.0, 9.0)}),
        CellCurve("rlhf", 1, (5,), {"eval/score": (9.0,)}),
    ]
    assert mean_at_start(curves, "eval/score") == pytest.approx(1.5)
    assert mean_at_start(curves, "eval/gold_score") is None
    assert mean_at_start(curves[2:], "eval/score") is None
