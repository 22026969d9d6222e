"""Accuracy and calibration, on tables that a pencil can check."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abcrl.analysis.quality.reward_quality import (
    accuracy,
    calibration_error,
    length_correlation,
    nll,
)


def logits(*probabilities: float) -> torch.Tensor:
    """Scores whose sigmoid is this."""
    return torch.tensor(probabilities, dtype=torch.float64).logit()


def labels(*positive: int) -> torch.Tensor:
    return torch.tensor(positive).bool()


texts = st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=1, max_size=60)


def test_a_score_of_zero_counts_as_negative():
    scores = torch.tensor([0.0, 0.0, 1e-9, -1e-9])
    assert accuracy(scores, labels(0, 1, 1, 0)) == 0.75


class TestNll:
    def test_by_hand(self):
        # -log .75, -log .75 (a negative at P = .25), -log .1.
        expected = -(2 * math.log(0.75) + math.log(0.1)) / 3
        assert nll(logits(0.75, 0.25, 0.1), labels(1, 0, 1)) == pytest.approx(expected)

    def test_of_saying_one_half_is_log_2(self):
        assert nll(torch.zeros(5), labels(1, 0, 1, 1, 0)) == pytest.approx(math.log(2))

    def test_stays_finite_where_the_probability_rounds_to_0_or_1(self):
        assert nll(torch.tensor([1000.0, -1000.0]), labels(0, 1)) == pytest.approx(1000)
        assert nll(torch.tensor([1000.0, -1000.0]), labels(1, 0)) == 0


class TestCalibrationError:
    def test_by_hand(self):
        # Bins of width 1/15. P = .70 and .72 share [.667, .733), one of the two is positive:
        # |1 - 1.42| = .42. P = .05, negative: .05. P = .95, negative: .95. Over 4: .355.
        found = calibration_error(logits(0.7, 0.72, 0.05, 0.95), labels(1, 0, 0, 0))
        assert found == pytest.approx((0.42 + 0.05 + 0.95) / 4)

    def test_positive_and_negative_are_not_pooled(self):
        # As confidence of the predicted label, .9 twice, right once each: the same gap. But 1/10 of
        # texts at P = .1 are to be positive, and here all are: errors in both bins add up.
        assert calibration_error(logits(0.9, 0.1), labels(0, 1)) == pytest.approx(0.9)

    def test_of_a_calibrated_forecast_is_0(self):
        scores = logits(*[0.25] * 4, *[0.8] * 5)
        assert calibration_error(scores, labels(1, 0, 0, 0, 1, 1, 1, 0, 1)) == pytest.approx(0)

    def test_certainty_counts_in_the_first_and_the_last_bin(self):
        scores = torch.tensor([1000.0, -1000.0])
        assert calibration_error(scores, labels(1, 0)) == 0
        assert calibration_error(scores, labels(0, 1)) == 1

    def test_is_high_for_too_much_confidence_where_accuracy_is_the_same(self):
        generator = torch.Generator().manual_seed(0)
        scores = 3 * torch.randn(4000, generator=generator)
        truth = torch.rand(4000, generator=generator) < scores.sigmoid()
        assert accuracy(scores, truth) == accuracy(3 * scores, truth)
        # Chance: about sum over 15 bins of sqrt(n_b p (1 - p)) * .8 / 4000, below .02.
        assert calibration_error(scores, truth) < 0.02
        assert calibration_error(3 * scores, truth) > 0.07
        assert nll(scores, truth) < nll(3 * scores, truth)

    @given(texts, st.randoms(use_true_random=False))
    def test_is_a_share_and_depends_on_no_order(self, rows, shuffler):
        mixed = shuffler.sample(rows, len(rows))
        found, again = (
            calibration_error(torch.tensor([s for s, _ in each]), labels(*(y for _, y in each)))
            for each in (rows, mixed)
        )
        assert 0 <= found <= 1
        assert found == pytest.approx(again, abs=1e-9)


class TestLengthCorrelation:
    def test_by_hand(self):
        # Deviations -3 -1 1 3 and -2 -1 0 3: 16 / sqrt(20 * 14); ranks 1 2 3 4 in both.
        found = length_correlation(torch.tensor([0.0, 2, 4, 6]), torch.tensor([2, 3, 4, 7]))
        assert found.pearson == pytest.approx(16 / math.sqrt(280))
        assert found.spearman == pytest.approx(1)

    def test_ties_share_the_mean_of_their_ranks(self):
        # Ranks 1.5 1.5 3 and 1 2 3: deviations -.5 -.5 1 and -1 0 1: 1.5 / sqrt(1.5 * 2).
        found = length_correlation(torch.tensor([4.0, 4, 9]), torch.tensor([1, 2, 3]))
        assert found.spearman == pytest.approx(1.5 / math.sqrt(3))

    @pytest.mark.parametrize("scores", [[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]])
    def test_what_does_not_vary_has_none(self, scores):
        lengths = [5, 6, 7] if len(set(scores)) == 1 else [5, 5, 5]
        found = length_correlation(torch.tensor(scores), torch.tensor(lengths))
        assert found == (None, None)
