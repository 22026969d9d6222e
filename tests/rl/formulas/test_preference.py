"""Bradley and Terry's loss: values and gradients worked out by hand, and what must always hold."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from abcrl.rl.formulas.preference import bradley_terry_loss

scores = st.floats(-20, 20, width=32)
margins = st.floats(0, 5, width=32)

LOG_2, LOG_3, LOG_4 = math.log(2), math.log(3), math.log(4)

# -log sigmoid(x) = log(1 + exp(-x)) at x = chosen - rejected - margin; its slope in chosen is
# -(1 - sigmoid(x)), in rejected the opposite.
TABLE = [
    # chosen, rejected, margin, loss, slope in chosen
    (0.0, 0.0, 0.0, LOG_2, -1 / 2),  # log(1 + 1), sigmoid = 1/2
    (LOG_3, 0.0, 0.0, LOG_4 - LOG_3, -1 / 4),  # log(1 + 1/3) = log(4/3), sigmoid = 3/4
    (0.0, LOG_3, 0.0, LOG_4, -3 / 4),  # log(1 + 3), sigmoid = 1/4
    (2 + LOG_3, 2.0, 0.0, LOG_4 - LOG_3, -1 / 4),  # as the second: only the difference counts
    (LOG_3, 0.0, LOG_3, LOG_2, -1 / 2),  # the margin takes the whole lead
    (LOG_3, 0.0, 2 * LOG_3, LOG_4, -3 / 4),  # x = -log 3
]


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_loss_and_gradient_are_those_of_the_table():
    chosen, rejected, margin, expected, slope = map(column, map(list, zip(*TABLE, strict=True)))
    chosen.requires_grad_()
    rejected.requires_grad_()
    loss = bradley_terry_loss(chosen, rejected, margin)
    torch.autograd.backward(loss.total.sum())
    assert_close(loss.total.detach(), expected)
    assert_close(loss.ranking.detach(), expected)
    assert_close(chosen.grad, slope)
    assert_close(rejected.grad, -slope)


def test_centring_adds_the_squared_sum_of_both_scores():
    # (1.5 - 0.5)^2 = 1, (2 + 1)^2 = 9; slope of 0.1 * (c + r)^2: 0.2 * (c + r), the same in both.
    chosen, rejected = column([1.5, 2.0]).requires_grad_(), column([-0.5, 1.0]).requires_grad_()
    loss = bradley_terry_loss(chosen, rejected, center_coef=0.1)
    assert_close(loss.centering.detach(), column([1.0, 9.0]))
    assert_close((loss.total - loss.ranking).detach(), column([0.1, 0.9]))
    torch.autograd.backward((loss.total - loss.ranking).sum())
    assert_close(chosen.grad, column([0.2, 0.6]))
    assert_close(rejected.grad, column([0.2, 0.6]))


def test_one_margin_serves_all_pairs():
    chosen, rejected = column([3.0, -1.0]), column([1.0, 2.0])
    each = bradley_terry_loss(chosen, rejected, column([0.5, 0.5])).total
    assert_close(bradley_terry_loss(chosen, rejected, 0.5).total, each)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_apart_scores_give_no_infinity(dtype):
    chosen = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    rejected = -chosen.detach()
    loss = bradley_terry_loss(chosen, rejected).total
    torch.autograd.backward(loss.sum())
    assert_close(loss.detach(), torch.tensor([0.0, 2e4], dtype=dtype))
    assert_close(chosen.grad, torch.tensor([0.0, -1.0], dtype=dtype))


@given(scores, scores)
def test_the_two_orders_are_the_only_ones(one, other):
    there, back = (
        bradley_terry_loss(column([first]), column([second])).ranking
        for first, second in ((one, other), (other, one))
    )
    assert_close(torch.exp(-there) + torch.exp(-back), column([1.0]))


@given(scores, scores, margins, st.floats(0.0625, 5, width=32))
def test_a_better_chosen_score_costs_less_and_a_wider_margin_more(chosen, rejected, margin, step):
    def cost(better: float, wanted: float) -> float:
        return bradley_terry_loss(column([better]), column([rejected]), wanted).total.item()

    assert cost(chosen + step, margin) < cost(chosen, margin) < cost(chosen, margin + step)


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=8), st.floats(-50, 50, width=32))
def test_a_constant_added_to_all_scores_changes_the_centring_alone(pairs, shift):
    chosen, rejected = map(column, map(list, zip(*pairs, strict=True)))
    there = bradley_terry_loss(chosen, rejected, 0.5, 1.0)
    moved = bradley_terry_loss(chosen + shift, rejected + shift, 0.5, 1.0)
    assert_close(moved.ranking, there.ranking, atol=1e-9, rtol=1e-9)
    assert_close(moved.centering, (chosen + rejected + 2 * shift).square())


@given(st.lists(st.tuples(scores, scores, margins), min_size=1, max_size=8))
def test_a_pair_costs_the_same_alone_and_among_others(pairs):
    chosen, rejected, margin = map(column, map(list, zip(*pairs, strict=True)))
    together = bradley_terry_loss(chosen, rejected, margin, 0.3).total
    alone = [bradley_terry_loss(column([c]), column([r]), m, 0.3).total for c, r, m in pairs]
    assert_close(together, torch.cat(alone))
