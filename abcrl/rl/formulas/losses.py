"""PPO's clipped losses as sums over response tokens, with the parts that logging wants.

Sums, because the loss of an optimizer step is the sum over all its response tokens divided by
their number: the caller divides by the token count of the *whole* step, so that neither gradient
accumulation nor the number of processes changes the update.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .masked import masked_sum, masked_variance


class PolicyLoss(NamedTuple):
    """Sums over response tokens; all but `loss_sum` detached."""

    loss_sum: Float[Tensor, ""]
    ratio_sum: Float[Tensor, ""]
    clipped_sum: Float[Tensor, ""]
    approx_kl_sum: Float[Tensor, ""]
    policy_kl_sum: Float[Tensor, ""]
    tokens: Int[Tensor, ""]


class ValueLoss(NamedTuple):
    """Sums over response tokens; all but `loss_sum` detached."""

    loss_sum: Float[Tensor, ""]
    squared_error_sum: Float[Tensor, ""]
    clipped_sum: Float[Tensor, ""]
    tokens: Int[Tensor, ""]


class PpoLoss(NamedTuple):
    """One micro-batch's loss and its parts."""

    total: Float[Tensor, ""]
    """policy.loss_sum + vf_coef * value.loss_sum + loss_coef * kl_sum: a sum, to be divided by the
    step's tokens."""
    policy: PolicyLoss
    value: ValueLoss
    kl_sum: Float[Tensor, ""] | None = None
    """KL to the reference; None: no term of the loss."""


class LossMeans(NamedTuple):
    """Means over the response tokens of any number of micro-batches, as Python floats."""

    total_loss: float
    policy_loss: float
    value_loss: float
    mean_ratio: float
    clip_fraction: float
    approx_kl: float
    policy_kl: float
    value_error: float
    value_clip_fraction: float
    kl_loss: float | None = None
    """Before its weight; None: no term of the loss."""


def policy_loss(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    clip_range: float,
) -> PolicyLoss:
    """Returns the clipped surrogate loss (Schulman et al. 2017, arXiv 1707.06347).

    ratio_t = exp(logprobs_t - old_logprobs_t)
    loss_t = max(-A_t * ratio_t, -A_t * clip(ratio_t, 1 - clip_range, 1 + clip_range))

    Args:
        logprobs: [B, R], of the response tokens under the policy being trained.
        old_logprobs: [B, R], under the policy that sampled them.
        advantages: [B, R], whitened over the rollout.
        response_mask: [B, R], True = this response token counts.
        clip_range: Above 0.

    Returns:
        The loss sum, and the sums of: the ratio; tokens whose loss is the clipped one; approx_kl,
        (logprobs - old_logprobs)^2 / 2; policy_kl, old_logprobs - logprobs.
    """
    # Selected before the exponential: an overflow in the padding would make NaN gradients.
    log_ratio = (logprobs - old_logprobs).where(response_mask, 0.0)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    with torch.no_grad():
        ratio_sum = masked_sum(ratio, response_mask)
        clipped_sum = masked_sum((clipped > unclipped).float(), response_mask)
        approx_kl_sum = 0.5 * masked_sum(log_ratio.square(), response_mask)
        policy_kl_sum = -log_ratio.sum()
    loss_sum = masked_sum(torch.maximum(unclipped, clipped), response_mask)
    tokens = response_mask.sum()
    return PolicyLoss(loss_sum, ratio_sum, clipped_sum, approx_kl_sum, policy_kl_sum, tokens)


def value_loss(
    values: Float[Tensor, "B R"],
    old_values: Float[Tensor, "B R"],
    returns: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    value_clip_range: float,
) -> ValueLoss:
    """Returns the clipped value loss, as in trl and OpenAI's baselines.

    clipped_t = clip(V_t, old_V_t - value_clip_range, old_V_t + value_clip_range)
    loss_t = max((V_t - return_t)^2, (clipped_t - return_t)^2) / 2

    Args:
        values: [B, R], of the value function being trained.
        old_values: [B, R], at the time of the rollout.
        returns: [B, R], the targets.
        response_mask: [B, R], True = this response token counts.
        value_clip_range: Above 0.

    Returns:
        The loss sum, and the sums of: the squared error before clipping; tokens whose loss is the
        clipped one.
    """
    values = values.where(response_mask, 0.0)
    nearby = values.clamp(old_values - value_clip_range, old_values + value_clip_range)
    unclipped = (values - returns).square()
    clipped = (nearby - returns).square()
    with torch.no_grad():
        squared_error_sum = masked_sum(unclipped, response_mask)
        clipped_sum = masked_sum((clipped > unclipped).float(), response_mask)
    loss_sum = 0.5 * masked_sum(torch.maximum(unclipped, clipped), response_mask)
    return ValueLoss(loss_sum, squared_error_sum, clipped_sum, response_mask.sum())


def combine_losses(
    policy: PolicyLoss,
    value: ValueLoss,
    vf_coef: float,
    *,
    kl_sum: Float[Tensor, ""] | None = None,
    loss_coef: float = 0.0,
) -> PpoLoss:
    """Returns total = policy loss + vf_coef * value loss + loss_coef * KL, as sums, and parts."""
    total = policy.loss_sum + vf_coef * value.loss_sum
    if kl_sum is not None:
        total = total + loss_coef * kl_sum
    return PpoLoss(total, policy, value, kl_sum)


def average_losses(losses: Sequence[PpoLoss]) -> LossMeans:
    """Returns the means over all response tokens of the given micro-batches.

    Args:
        losses: At least one, all with a KL term or all without; of one optimizer step for its
            ratio, of many for a step's metrics.

    Returns:
        Means over tokens, however the tokens were split; fetched from the device once.
    """
    sums = [
        torch.stack([
            loss.total, loss.policy.loss_sum, loss.value.loss_sum, loss.policy.ratio_sum,
            loss.policy.clipped_sum, loss.policy.approx_kl_sum, loss.policy.policy_kl_sum,
            loss.value.squared_error_sum, loss.value.clipped_sum,
            *(() if loss.kl_sum is None else (loss.kl_sum,)), loss.policy.tokens,
        ])
        for loss in losses
    ]  # fmt: skip
    *totals, tokens = torch.stack(sums).detach().cpu().double().sum(dim=0).tolist()
    return LossMeans(*(total / tokens for total in totals))


def exceeds_ratio_threshold(mean_ratio: float, ratio_threshold: float) -> bool:
    """Returns whether an optimizer step must be skipped, gradients, momentum and all.

    Args:
        mean_ratio: Mean ratio over the response tokens of the step (`average_losses`).
        ratio_threshold: Above 1.

    Returns:
        True above the threshold, and for a ratio that is no number.
    """
    return not mean_ratio <= ratio_threshold


@torch.no_grad()
def explained_variance(
    values: Float[Tensor, "B R"],
    returns: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
) -> Float[Tensor, ""]:
    """Returns the share of the returns' variance that the values explain.

    1 - variance(returns - values) / variance(returns), over the response tokens of the batch

    Args:
        values: [B, R].
        returns: [B, R].
        response_mask: [B, R], True = this response token counts.

    Returns:
        A scalar, at most 1; 0 where the returns do not vary, which leaves nothing to explain.
    """
    variance = masked_variance(returns, response_mask)
    residual = masked_variance(returns - values, response_mask)
    return (1 - residual / variance).where(variance > 0, 0.0)


def token_entropy(logps: Float[Tensor, "B R V"]) -> Float[Tensor, "B R"]:
    """Returns the entropy of the next-token distribution at each position.

    H_t = -sum_v p_t(v) * log p_t(v), with 0 * log 0 = 0

    Args:
        logps: [B, R, V], log-probabilities: the log-softmax of logits constrained as in sampling
            (`constrain_logits`).

    Returns:
        [B, R], nats. Tokens of probability 0 add nothing.
    """
    probabilities = logps.exp()
    # Selected before the product: 0 * -inf would be NaN, in the gradient too.
    return -(probabilities * logps.where(probabilities > 0, 0.0)).sum(dim=-1)
