"""What is said of a reward model on pairs, on tables that a pencil can check."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from abcrl.analysis.quality.preference_quality import (
    PreferenceQuality,
    SidesOfPairs,
    longer_is_better,
    mcnemar_p,
    measure_preferences,
    order_calibration_error,
    rightness,
    say_ending,
    say_preferences,
    wilson_interval,
)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sides(rows: list[tuple[float, float, int, int]]) -> SidesOfPairs:
    """From (score of chosen, of rejected, tokens of chosen, of rejected)."""
    chosen, rejected, chosen_lengths, rejected_lengths = zip(*rows, strict=True)
    return SidesOfPairs(
        torch.tensor(chosen),
        torch.tensor(rejected),
        torch.tensor(chosen_lengths),
        torch.tensor(rejected_lengths),
        torch.tensor(chosen) + 0.5,
    )


# Margins log 3, 1, 0, -log 3.
FOUR = [
    (math.log(3), 0.0, 8, 5),
    (2.0, 1.0, 5, 5),
    (0.5, 0.5, 9, 4),
    (0.0, math.log(3), 3, 7),
]
rows = st.lists(
    st.tuples(
        st.floats(-9, 9, width=32), st.floats(-9, 9, width=32), st.integers(1, 9), st.integers(1, 9)
    ),
    min_size=1,
    max_size=40,
)


class TestMeasuredOnFourPairs:
    @pytest.fixture
    def quality(self) -> PreferenceQuality:
        return measure_preferences(sides(FOUR), prefers_longer=True)

    def test_accuracy_counts_a_tie_half(self, quality):
        assert quality.pairs == 4
        assert quality.accuracy == 2.5 / 4

    def test_margins_and_their_likelihood(self, quality):
        margins = [math.log(3), 1.0, 0.0, -math.log(3)]
        mean = sum(margins) / 4
        assert quality.margin_mean == pytest.approx(mean)
        deviation = math.sqrt(sum((margin - mean) ** 2 for margin in margins) / 3)
        assert quality.margin_std == pytest.approx(deviation)
        # sigmoid: 3/4, e / (1 + e), 1/2, 1/4.
        expected = -(math.log(3 / 4) + 1 - math.log(1 + math.e) + math.log(1 / 2) + math.log(1 / 4))
        assert quality.nll == pytest.approx(expected / 4)

    def test_the_length_rule_takes_the_longer_and_half_of_what_is_as_long(self, quality):
        # Longer: chosen, neither, chosen, rejected.
        assert quality.length_accuracy == 2.5 / 4
        shorter = measure_preferences(sides(FOUR), prefers_longer=False)
        assert shorter.length_accuracy == 1.5 / 4
        # Model 1 1 .5 0, rule 1 .5 1 0: one pair each way.
        assert quality.length_p == 1.0
        # Rule 0 .5 0 1: three pairs for the model, one against; 2 * (1 + 4) / 16.
        assert shorter.length_p == pytest.approx(0.625)

    def test_correlations_are_over_both_sides(self, quality):
        scores = [row[0] for row in FOUR] + [row[1] for row in FOUR]
        lengths = [row[2] for row in FOUR] + [row[3] for row in FOUR]
        pearson, spearman = stats.pearsonr(scores, lengths), stats.spearmanr(scores, lengths)
        # Scores are float32.
        assert quality.length_pearson == pytest.approx(pearson.statistic, rel=1e-6)
        assert quality.length_spearman == pytest.approx(spearman.statistic, rel=1e-6)

    def test_both_sides_have_their_mean_score(self, quality):
        assert quality.score_chosen_mean == pytest.approx((math.log(3) + 2.5) / 4)
        assert quality.score_rejected_mean == pytest.approx((1.5 + math.log(3)) / 4)

    def test_the_scores_have_their_spread_and_what_they_are_without_an_end(self, quality):
        # Scores log 3, 2, 1/2, 0 and 0, 1, 1/2, log 3, as a table of eight.
        scores = [math.log(3), 2.0, 0.5, 0.0, 0.0, 1.0, 0.5, math.log(3)]
        mean = sum(scores) / 8
        deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / 7)
        assert quality.score_std == pytest.approx(deviation)
        assert quality.score_chosen_without_eos_mean == pytest.approx((math.log(3) + 4.5) / 4)

    def test_pairs_that_were_cut_have_an_accuracy_of_their_own(self, quality):
        assert quality.accuracy_truncated is None
        # One order right, one tie, two wrong.
        cut = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([1.0, 1.0, 3.0, 4.0])
        known = sides(FOUR)._replace(truncated_scores=cut)
        both = measure_preferences(known, prefers_longer=True)
        assert both.accuracy_truncated == 1.5 / 4
        assert both.metrics()["eval/accuracy_truncated"] == 1.5 / 4
        assert both.accuracy == quality.accuracy

    def test_the_row_has_every_number_under_its_name(self, quality):
        row = quality.metrics()
        assert len(row) == 17
        assert row["eval/accuracy"] == 2.5 / 4
        assert row["eval/length_prefers_longer"] is True
        assert not any(name.startswith("credit/") for name in row)


def test_a_pair_of_equal_scores_and_lengths_says_nothing():
    quality = measure_preferences(sides([(1.0, 1.0, 4, 4)]), prefers_longer=True)
    assert quality.accuracy == quality.length_accuracy == 0.5
    assert quality.length_p == 1
    assert quality.length_pearson is None
    assert "eval/length_pearson" not in quality.metrics()
    assert all(math.isfinite(value) for value in quality.metrics().values())


@given(rows)
def test_swapping_the_sides_turns_every_judgement_round(table):
    there = measure_preferences(sides(table), prefers_longer=True)
    swapped = [(b, a, d, c) for a, b, c, d in table]
    back = measure_preferences(sides(swapped), prefers_longer=True)
    assert back.accuracy == pytest.approx(1 - there.accuracy)
    assert back.length_accuracy == pytest.approx(1 - there.length_accuracy)
    assert back.margin_mean == pytest.approx(-there.margin_mean, abs=1e-9)
    assert back.length_p == pytest.approx(there.length_p)
    assert there.accuracy_low <= there.accuracy <= there.accuracy_high
    for value in (there.calibration_error, there.length_p, there.accuracy_low, there.accuracy_high):
        assert 0 <= value <= 1


@given(rows, st.floats(-50, 50, width=32))
def test_a_constant_added_to_all_scores_changes_the_mean_scores_alone(table, shift):
    there = measure_preferences(sides(table), prefers_longer=True).metrics()
    known = sides(table)
    moved = known._replace(
        chosen_scores=known.chosen_scores.double() + shift,
        rejected_scores=known.rejected_scores.double() + shift,
    )
    after = measure_preferences(moved, prefers_longer=True)
    assert after.nll == pytest.approx(there["eval/nll"], abs=1e-6)
    assert after.margin_mean == pytest.approx(there["eval/margin_mean"], abs=1e-6)
    assert after.score_chosen_mean == pytest.approx(there["eval/score_chosen_mean"] + shift)


class TestLengthRule:
    def test_it_is_the_one_that_is_right_more_often(self):
        assert longer_is_better(torch.tensor([9, 9, 1]), torch.tensor([1, 1, 9]))
        assert not longer_is_better(torch.tensor([9, 1, 1]), torch.tensor([1, 9, 9]))

    def test_how_much_longer_does_not_count(self):
        assert not longer_is_better(torch.tensor([900, 1, 1]), torch.tensor([1, 2, 2]))

    def test_where_neither_is_better_it_is_the_longer(self):
        assert longer_is_better(torch.tensor([5, 1, 9]), torch.tensor([5, 9, 1]))


class TestWilson:
    @pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (81, 263), (10, 10)])
    def test_it_is_scipys_for_whole_numbers(self, hits, trials):
        expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        interval = wilson_interval(hits / trials, trials)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))

    @given(st.floats(0, 1), st.integers(1, 5000))
    def test_it_holds_the_share_and_is_a_part_of_0_to_1(self, share, trials):
        interval = wilson_interval(share, trials)
        assert 0 <= interval.low <= share <= interval.high <= 1


class TestMcNemar:
    def test_only_the_pairs_on_which_they_differ_count(self):
        # 5 to 1: 2 * (1 + 6) / 64.
        first, second = tensor(1, 1, 1, 1, 1, 0), tensor(0, 0, 0, 0, 0, 1)
        assert mcnemar_p(first, second) == pytest.approx(14 / 64)
        both = torch.cat([first, torch.ones(50)]), torch.cat([second, torch.ones(50)])
        assert mcnemar_p(*both) == pytest.approx(14 / 64)
        assert mcnemar_p(second, first) == pytest.approx(14 / 64)

    def test_where_they_never_differ_p_is_1(self):
        assert mcnemar_p(tensor(1, 0, 0.5), tensor(1, 0, 0.5)) == 1

    def test_a_tie_lies_between_right_and_wrong(self):
        # 2 to 0: 2 * 1/4.
        assert mcnemar_p(tensor(1, 0.5), tensor(0.5, 0)) == pytest.approx(0.5)


class TestCalibrationOfTheOrder:
    def test_by_hand(self):
        # Confidence .75 four times, in [11/15, 12/15): right three times, no gap. .9 twice, in
        # [13/15, 14/15), right once: .8 - in sum 2 * .4. Over 6.
        margins = [math.log(3)] * 3 + [-math.log(3)] + [math.log(9), -math.log(9)]
        assert order_calibration_error(tensor(*margins)) == pytest.approx(0.8 / 6)

    def test_a_tie_is_half_right_at_a_confidence_of_one_half(self):
        assert order_calibration_error(tensor(0, 0, 0)) == 0

    def test_confidence_in_the_wrong_order_counts_as_confidence(self):
        assert order_calibration_error(tensor(-1000)) == 1
        assert order_calibration_error(tensor(1000)) == 0


def test_right_is_one_and_a_tie_one_half():
    assert rightness(tensor(0.1, 0, -5)).tolist() == [1, 0.5, 0]
    assert rightness(torch.tensor([3, 0, -1])).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"accuracy": 0.7, "length_accuracy": 0.55, "length_p": 0.004},
            "more often right than preferring the longer one (p = .004)",
        ),
        (
            {"accuracy": 0.6, "length_accuracy": 0.7, "length_p": 0.0001},
            "less often right than preferring the longer one (p < .001)",
        ),
        (
            {"length_p": 0.21, "length_prefers_longer": False},
            "not distinguishable from preferring the shorter one (p = .210)",
        ),
        (
            {"accuracy_low": 0.48, "accuracy_high": 0.6, "length_p": 0.5},
            "not distinguishable from guessing; not distinguishable from preferring the longer one "
            "(p = .500)",
        ),
    ],
)
def test_the_conclusion_is_said_in_words(known: dict[str, Any], said):
    common = measure_preferences(sides(FOUR), prefers_longer=True)
    fields = {"accuracy_low": 0.6, "accuracy_high": 0.8, **known}
    assert say_preferences(PreferenceQuality(**{**vars(common), **fields})) == said


@pytest.mark.parametrize(
    ("without_eos", "accuracy_truncated", "said"),
    [
        (1.5, None, None),
        (-1.5, 0.6, None),
        (
            2.5,
            None,
            "responses that are cut score higher; PPO may learn not to end: set truncation to the "
            "lengths of its responses",
        ),
        (
            2.5,
            0.6,
            "responses that are cut score higher; PPO may learn not to end: raise truncation.share",
        ),
        (
            -2.5,
            None,
            "responses that are cut score lower; PPO may learn to end early: set truncation to the "
            "lengths of its responses",
        ),
    ],
)
def test_an_end_that_moves_the_score_by_more_than_half_its_spread_is_said(
    without_eos, accuracy_truncated, said
):
    quality = replace(
        measure_preferences(sides(FOUR), prefers_longer=True),
        score_chosen_mean=0.0,
        score_std=4.0,
        score_chosen_without_eos_mean=without_eos,
        accuracy_truncated=accuracy_truncated,
    )
    assert say_ending(quality) == said
