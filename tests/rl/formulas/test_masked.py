"""Masked statistics: tables by hand, properties, and what must not leak from the padding."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from abcrl.rl.formulas.masked import (
    masked_mean,
    masked_row_sums,
    masked_sum,
    masked_variance,
    whiten,
)

NAN = math.nan

# The response tokens are 1, 2 and 5; the padding holds what padding may hold.
VALUES = torch.tensor([[1.0, 2.0, NAN], [math.inf, 5.0, -7.0]])
MASK = torch.tensor([[True, True, False], [False, True, False]])


def test_sums_mean_and_variance_by_hand():
    assert masked_sum(VALUES, MASK) == 8
    assert masked_row_sums(VALUES, MASK).tolist() == [3, 5]
    assert masked_mean(VALUES, MASK).item() == pytest.approx(8 / 3)
    # deviations -5/3, -2/3, 7/3: squares 25 + 4 + 49 = 78 ninths, over n - 1 = 2
    assert masked_variance(VALUES, MASK).item() == pytest.approx(78 / 9 / 2)


@pytest.mark.parametrize(("shift_mean", "offset"), [(True, 0.0), (False, 8 / 3)])
def test_whitening_by_hand(shift_mean, offset):
    deviation = math.sqrt(13 / 3)
    expected = [
        [-5 / 3 / deviation + offset, -2 / 3 / deviation + offset, 0.0],
        [0.0, 7 / 3 / deviation + offset, 0.0],
    ]
    assert_close(whiten(VALUES, MASK, shift_mean=shift_mean), torch.tensor(expected))


@pytest.mark.parametrize(("shift_mean", "expected"), [(True, 0.0), (False, 3.0)])
def test_a_single_token_whitens_to_a_number(shift_mean, expected):
    values, mask = torch.tensor([[3.0, NAN]]), torch.tensor([[True, False]])

    assert masked_variance(values, mask) == 0
    assert whiten(values, mask, shift_mean=shift_mean).tolist() == [[expected, 0.0]]


def test_equal_values_whiten_to_zero():
    assert (whiten(torch.full((2, 3), 0.5), torch.ones(2, 3, dtype=torch.bool)) == 0).all()


def test_an_empty_mask_has_mean_and_variance_zero():
    assert masked_mean(VALUES, torch.zeros_like(MASK)) == 0
    assert masked_variance(VALUES, torch.zeros_like(MASK)) == 0


@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 4), width=st.integers(2, 12))
def test_whitened_tokens_have_mean_0_and_variance_1(seed, batch, width):
    generator = torch.Generator().manual_seed(seed)
    values = 3 + 2 * torch.randn(batch, width, generator=generator)
    mask = torch.rand(batch, width, generator=generator) < 0.7
    mask[0, :2] = True
    values[0, 1] = values[0, 0] + 1  # some variance, whatever the draw

    whitened = whiten(values, mask)

    assert masked_mean(whitened, mask).item() == pytest.approx(0, abs=1e-5)
    assert masked_variance(whitened, mask).item() == pytest.approx(1, abs=1e-4)
    assert (whitened[~mask] == 0).all()
    assert torch.equal(whiten(values.where(mask, NAN), mask), whitened)
