"""Spreading scores with given weights, on tables that a reader can check with a pencil."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from abcrl.densification import Evidence, assign_credit, blend, densify

MASK = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
WEIGHTS = torch.tensor([[0.5, 0.25, 0.25, 0], [0, 0, 0.75, 0.25]])
SCORES = torch.tensor([2.0, -4.0])


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # All spread: 2 * (1/2, 1/4, 1/4) and -4 * (3/4, 1/4).
        (1, [[1, 0.5, 0.5, 0], [0, 0, -3, -1]]),
        # Half spread, half of the score (1 and -2) on the last response token:
        # (0.5, 0.25, 0.25 + 1) and (-1.5, -0.5 - 2).
        (0.5, [[0.5, 0.25, 1.25, 0], [0, 0, -1.5, -2.5]]),
        # Nothing spread.
        (0, [[0, 0, 2, 0], [0, 0, 0, -4]]),
    ],
)
def test_densify_shares_each_score(beta, expected):
    token_scores = densify(SCORES, WEIGHTS, MASK, beta)
    assert token_scores.tolist() == expected  # exact: all of it is a multiple of 1/4
    assert token_scores.sum(-1).tolist() == SCORES.tolist()


def test_no_negative_zeros():
    # 0 * -4 is -0.0, which equals 0 but is written to files as "-0.0".
    sparse = densify(-SCORES.abs(), WEIGHTS, MASK, 0.0)
    assert (torch.signbit(sparse) == (sparse < 0)).all()


def test_blend_takes_signed_spreads_and_keeps_their_sum():
    # Differences of prefix scores 0.5, -1, 2: (0.5, -1.5, 3), sum 2. At beta 1/2: halves of these,
    # and half of the score 2 on the last token.
    spread = torch.tensor([[0.5, -1.5, 3.0, float("nan")]])  # off the response nothing is read
    token_scores = blend(spread, torch.tensor([2.0]), MASK[:1], 0.5)
    assert token_scores.tolist() == [[0.25, -0.75, 2.5, 0]]


def test_densify_is_blend_of_scores_times_weights():
    expected = blend(SCORES[:, None] * WEIGHTS, SCORES, MASK, 0.8)
    assert torch.equal(densify(SCORES, WEIGHTS, MASK, 0.8), expected)


@pytest.mark.parametrize("beta", [np.float64(0.5), np.float32(0.5), Fraction(1, 2)])
def test_beta_may_be_any_plain_number(beta):
    token_scores = densify(SCORES, WEIGHTS, MASK, beta)
    assert torch.equal(token_scores, densify(SCORES, WEIGHTS, MASK, 0.5))
    assert token_scores.dtype == torch.float32


def test_credit_feeds_densify():
    # uniform over three and two tokens; beta 1.
    weights = assign_credit("uniform", Evidence(MASK)).weights
    expected = torch.tensor([[2 / 3, 2 / 3, 2 / 3, 0], [0, 0, -2, -2]])
    torch.testing.assert_close(densify(SCORES, weights, MASK, 1.0), expected)
