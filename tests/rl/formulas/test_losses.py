"""PPO's losses: tables by hand with gradients, invariance to splitting, the skip rule."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from abcrl.rl.formulas.logprobs import BANNED_LOGIT
from abcrl.rl.formulas.losses import (
    PpoLoss,
    average_losses,
    combine_losses,
    exceeds_ratio_threshold,
    explained_variance,
    policy_loss,
    token_entropy,
    value_loss,
)
from abcrl.rl.formulas.masked import masked_sum

NAN = math.nan
SEEDS = st.integers(0, 2**32 - 1)


def row(*values: float) -> Tensor:
    return torch.tensor([values])


def everywhere(like: Tensor) -> Tensor:
    return torch.ones(like.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        # d(-A * ratio) / d logprob = -A * ratio while the loss is the unclipped one, else 0
        (1.0, 2.0, -2.0, -2.0, 0),
        (1.5, 1.0, -1.2, 0.0, 1),  # good and already likelier: capped at 1 + 0.2
        (1.5, -1.0, 1.5, 1.5, 0),  # bad and likelier: pushed back in full
        (0.5, 1.0, -0.5, -0.5, 0),  # good and less likely: pulled back in full
        (0.5, -1.0, 0.8, 0.0, 1),  # bad and already less likely: capped at 1 - 0.2
    ],
)
def test_policy_loss_by_hand(ratio, advantage, loss, gradient, clipped):
    logprobs = row(math.log(ratio) - 1).requires_grad_()

    result = policy_loss(logprobs, row(-1.0), row(advantage), everywhere(logprobs), 0.2)

    assert result.loss_sum.item() == pytest.approx(loss)
    (actual,) = torch.autograd.grad(result.loss_sum, logprobs)
    assert actual.item() == pytest.approx(gradient)
    assert result.clipped_sum == clipped
    assert result.ratio_sum.item() == pytest.approx(ratio)
    assert result.approx_kl_sum.item() == pytest.approx(math.log(ratio) ** 2 / 2)
    assert result.policy_kl_sum.item() == pytest.approx(-math.log(ratio))


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient", "clipped"),
    [
        # the old value is 0, so values are clipped to -0.2 .. 0.2; loss is half the larger square
        (0.5, 1.0, 0.64 / 2, 0.0, 1),  # 0.25 against (0.2 - 1)^2: it has moved enough
        (0.5, 0.0, 0.25 / 2, 0.5, 0),  # 0.25 against 0.04: overshot, pulled back
        (0.1, 1.0, 0.81 / 2, -0.9, 0),  # within the range both are equal
    ],
)
def test_value_loss_by_hand(value, target, loss, gradient, clipped):
    values = row(value).requires_grad_()

    result = value_loss(values, row(0.0), row(target), everywhere(values), 0.2)

    assert result.loss_sum.item() == pytest.approx(loss)
    (actual,) = torch.autograd.grad(result.loss_sum, values)
    assert actual.item() == pytest.approx(gradient)
    assert result.clipped_sum == clipped
    assert result.squared_error_sum.item() == pytest.approx((value - target) ** 2)


@given(SEEDS)
def test_before_the_first_update_the_ratio_is_one(seed):
    generator = torch.Generator().manual_seed(seed)
    logprobs = -torch.rand(2, 4, generator=generator)
    advantages = torch.randn(2, 4, generator=generator)

    loss = policy_loss(logprobs, logprobs, advantages, everywhere(logprobs), 0.2)

    assert loss.ratio_sum == 8
    assert loss.clipped_sum == loss.approx_kl_sum == loss.policy_kl_sum == 0
    assert_close(loss.loss_sum, -advantages.sum())


Rollout = dict[str, Tensor]


def random_rollout(seed: int, batch: int, width: int) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    names = ("logprobs", "old_logprobs", "advantages", "values", "old_values", "returns")
    rollout = {name: torch.randn(batch, width, generator=generator) / 2 for name in names}
    rollout["mask"] = torch.rand(batch, width, generator=generator) < 0.7
    rollout["mask"][:, 0] = True
    for name in ("logprobs", "values"):
        rollout[name].requires_grad_()
    return rollout


def loss_of(rollout: Rollout, rows: slice = slice(None)) -> PpoLoss:
    part = {name: tensor[rows] for name, tensor in rollout.items()}
    policy = policy_loss(
        part["logprobs"], part["old_logprobs"], part["advantages"], part["mask"], 0.2
    )
    value = value_loss(part["values"], part["old_values"], part["returns"], part["mask"], 0.2)
    kl_sum = masked_sum(part["logprobs"].square(), part["mask"])
    return combine_losses(policy, value, vf_coef=0.1, kl_sum=kl_sum, loss_coef=0.3)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_splitting_a_step_into_micro_batches_changes_nothing(seed, batch, width, size):
    rollout = random_rollout(seed, batch, width)
    parameters = (rollout["logprobs"], rollout["values"])
    tokens = rollout["mask"].sum()
    whole = loss_of(rollout)
    parts = [loss_of(rollout, slice(start, start + size)) for start in range(0, batch, size)]

    expected = torch.autograd.grad(whole.total / tokens, parameters)
    accumulated = [torch.zeros_like(parameter) for parameter in parameters]
    for part in parts:
        for total, gradient in zip(
            accumulated, torch.autograd.grad(part.total / tokens, parameters), strict=True
        ):
            total += gradient

    assert_close(accumulated, list(expected))
    assert average_losses(parts) == pytest.approx(average_losses([whole]), rel=1e-4, abs=1e-5)


def test_tokens_weigh_equally_however_they_are_split():
    # one response of three tokens with ratio 1, one of one token with ratio 3: (1 + 1 + 1 + 3) / 4
    zeros = torch.zeros(2, 3)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    logprobs = torch.tensor([[0.0, 0.0, 0.0], [math.log(3), NAN, NAN]])
    value = value_loss(zeros, zeros, zeros, mask, 0.2)
    policy = policy_loss(logprobs, zeros, zeros, mask, 0.2)

    means = average_losses([combine_losses(policy, value, 0.1)])

    assert means.mean_ratio == pytest.approx(1.5)


def test_the_padding_reaches_neither_loss_nor_gradient():
    rollout = random_rollout(0, 3, 5)
    expected = average_losses([loss_of(rollout)])
    mask = rollout["mask"]
    for name, garbage in zip(rollout, (1e30, -1e30, NAN, NAN, math.inf, NAN), strict=False):
        rollout[name] = rollout[name].detach().where(mask, garbage)
    parameters = [rollout[name].requires_grad_() for name in ("logprobs", "values")]

    loss = loss_of(rollout)

    assert average_losses([loss]) == expected
    for gradient in torch.autograd.grad(loss.total, parameters):
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize(
    ("mean_ratio", "skip"),
    [(1.0, False), (10.0, False), (10.1, True), (math.inf, True), (NAN, True)],
)
def test_a_step_is_skipped_above_the_ratio_threshold(mean_ratio, skip):
    assert exceeds_ratio_threshold(mean_ratio, 10.0) is skip


def test_a_ratio_that_overflows_is_skipped():
    logprobs = row(200.0, 0.0)
    policy = policy_loss(logprobs, row(0.0, 0.0), row(1.0, 1.0), everywhere(logprobs), 0.2)
    value = value_loss(logprobs, logprobs, logprobs, everywhere(logprobs), 0.2)

    means = average_losses([combine_losses(policy, value, 0.1)])

    assert exceeds_ratio_threshold(means.mean_ratio, 10.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 2.0, 3.0), 1.0),  # perfect
        ((7.0, 7.0, 7.0), 0.0),  # a constant explains nothing
        ((3.0, 2.0, 1.0), -3.0),  # residuals -2, 0, 2: variance 4 against 1
    ],
)
def test_explained_variance_by_hand(values, expected):
    returns = row(1.0, 2.0, 3.0, NAN)
    mask = torch.tensor([[True, True, True, False]])

    assert explained_variance(row(*values, 0.0), returns, mask).item() == pytest.approx(expected)


@pytest.mark.parametrize("returns", [(2.0, 2.0), (2.0,)])
def test_returns_that_do_not_vary_leave_nothing_to_explain(returns):
    target = row(*returns)

    assert explained_variance(target + 1, target, everywhere(target)) == 0


@pytest.mark.parametrize("banned", [BANNED_LOGIT, -math.inf])
def test_entropy_by_hand(banned):
    # four equal tokens: ln 4; one of them banned: ln 3; all but one banned: 0
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = banned
    logits[0, 2, 1:] = banned
    logits.requires_grad_()

    entropy = token_entropy(logits.log_softmax(-1))

    assert_close(entropy, row(math.log(4), math.log(3), 0.0))
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    assert_close(gradient, torch.zeros_like(logits))  # equal tokens: the entropy is at its maximum


@given(SEEDS)
def test_entropy_is_the_cross_entropy_of_a_distribution_with_itself(seed):
    logits = 3 * torch.randn(6, 1, 5, generator=torch.Generator().manual_seed(seed))

    expected = torch.nn.functional.cross_entropy(
        logits[:, 0], logits[:, 0].softmax(-1), reduction="none"
    )

    assert_close(token_entropy(logits.log_softmax(-1))[:, 0], expected)
