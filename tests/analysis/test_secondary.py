"""Scores at equal KL and steps to most of the baseline's gain, by hand."""

import pytest

from abcrl.analysis import CellCurve, Contrast, Margin
from abcrl.analysis.secondary import scores_at_equal_kl, steps_to_gain

CONTRASTS = [Contrast("abc", "rlhf")]


def cell(arm: str, seed: int, scores: tuple[float, ...], kls: tuple[float, ...]) -> CellCurve:
    steps = tuple(10 * number for number in range(len(scores)))
    return CellCurve(arm, seed, steps, {"eval/score": scores, "eval/kl_exact": kls})


def test_scores_are_read_where_the_paths_first_cross():
    # The smallest largest KL is 4: levels 1, 2 and 3. abc's path (0, 0) - (8, 4) has half the KL as
    # its score; rlhf's (0, 1) - (4, 3) has 1 + half of it.
    curves = [cell("abc", 0, (0.0, 4.0), (0.0, 8.0)), cell("rlhf", 0, (1.0, 3.0), (0.0, 4.0))]
    equal = scores_at_equal_kl(curves, CONTRASTS)
    assert (equal.smallest, equal.reason) == ("rlhf seed 0", "")
    found = equal.levels
    assert [(one.share, one.kl) for one in found] == [(0.25, 1.0), (0.5, 2.0), (0.75, 3.0)]
    assert [one.scores for one in found] == [
        {"abc": {0: 0.5}, "rlhf": {0: 1.5}},
        {"abc": {0: 1.0}, "rlhf": {0: 2.0}},
        {"abc": {0: 1.5}, "rlhf": {0: 2.5}},
    ]
    assert found[1].contrasts[0].mean == -1.0


def test_paths_of_which_one_never_moves_do_not_compare():
    curves = [cell("abc", 0, (0.0, 4.0), (0.0, 8.0)), cell("rlhf", 3, (1.0, 3.0), (0.0, 0.0))]
    found = scores_at_equal_kl(curves, CONTRASTS)
    assert found.levels == ()
    assert found.smallest == "rlhf seed 3"
    assert found.reason == "rlhf seed 3 never moved (largest KL 0)"


def test_a_path_below_zero_never_moved():
    found = scores_at_equal_kl([cell("abc", 1, (0.0, 1.0), (-0.25, -0.125))], CONTRASTS)
    assert found.reason == "abc seed 1 never moved (largest KL -0.125)"


def test_paths_whose_kl_is_not_known_do_not_compare():
    unknown = CellCurve("abc", 2, (0, 10), {"eval/score": (0.0, 1.0)})
    moved = cell("rlhf", 2, (1.0, 3.0), (0.0, 1.0))
    found = scores_at_equal_kl([moved, unknown], CONTRASTS)
    assert (found.levels, found.reason) == ((), "the KL of abc seed 2 was not evaluated")
    assert scores_at_equal_kl([], CONTRASTS).reason == "no cell has a result"


def test_steps_are_counted_to_nine_tenths_of_the_baselines_mean_gain():
    # The SFT model scores 0; rlhf's finals 3 and 1: mean gain 2, threshold 1.8.
    kls = (0.0, 1.0, 2.0)
    curves = [
        cell("abc", 0, (0.0, 3.6, 4.0), kls),  # after 5 steps
        cell("abc", 1, (0.0, 1.0, 1.5), kls),  # never
        cell("rlhf", 0, (0.0, 1.8, 3.0), kls),  # after 10
        cell("rlhf", 1, (0.0, 0.5, 1.0), kls),  # never
    ]
    found = steps_to_gain(curves, CONTRASTS, "rlhf")
    assert found.reason == ""
    assert found.threshold == pytest.approx(1.8)
    assert found.horizon == 20
    assert (found.mean("abc"), found.censored("abc")) == (12.5, 1)
    assert (found.mean("rlhf"), found.censored("rlhf")) == (15.0, 1)
    assert found.contrasts[0].differences == (-5.0, 0.0)


def test_a_baseline_that_gained_nothing_sets_no_mark():
    curves = [cell("rlhf", 0, (1.0, 0.9), (0, 1)), cell("abc", 0, (1.0, 2.0), (0, 1))]
    found = steps_to_gain(curves, CONTRASTS, "rlhf")
    assert found.reason == "rlhf gained nothing"
    assert (found.threshold, found.horizon, found.steps, found.contrasts) == (None, None, {}, ())


def test_without_a_baseline_or_the_sft_model_there_is_no_mark():
    assert steps_to_gain([], CONTRASTS, "rlhf").reason == "no cell of rlhf has a result"
    late = CellCurve("rlhf", 0, (10, 20), {"eval/score": (0.0, 1.0)})
    assert steps_to_gain([late], CONTRASTS, "rlhf").reason == "the SFT model was not evaluated"


def test_what_is_described_cannot_be_judged():
    curves = [cell("abc", 0, (0.0, 4.0), (0.0, 8.0)), cell("rlhf", 0, (1.0, 3.0), (0.0, 4.0))]
    stated = [Contrast("abc", "rlhf", Margin(0.5))]
    described = [
        *scores_at_equal_kl(curves, stated).levels[0].contrasts,
        *steps_to_gain(curves, stated, "rlhf").contrasts,
    ]
    assert len(described) == 2
    for one in described:
        assert not {"p_value", "adjusted_p", "finding", "family", "equivalence"} & vars(one).keys()
