"""The KL penalty: estimates per token, the exact divergence, token rewards, the coefficient.

The penalty in the reward is the signed estimator k1. k3 and the exact divergence are for metrics:
k3 as a detached reward has the wrong gradient.
"""

import math
from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abcrl.config import KlConfig

KlEstimator = Literal["k1", "abs", "k2", "k3"]

MAX_PROPORTIONAL_ERROR = 0.2

KL_ALARM = -1.0
"""Nats per response. The mean of k1 over a batch estimates a KL, which is never negative."""


def token_kl(
    logprobs: Float[Tensor, "B R"],
    ref_logprobs: Float[Tensor, "B R"],
    estimator: KlEstimator = "k1",
) -> Float[Tensor, "B R"]:
    """Returns an estimate of KL(policy || ref_policy) at each token, from the sampled token alone.

    With d = logprobs - ref_logprobs, after http://joschu.net/blog/kl-approx.html:
    k1 = d (unbiased, signed), k2 = d^2 / 2 (trl's "mse"), k3 = exp(-d) - 1 + d (unbiased, >= 0),
    and abs = |d| (trl's; no estimate of the KL, kept for comparison).

    Args:
        logprobs: [B, R], of the sampled tokens under the policy that sampled them, nats.
        ref_logprobs: [B, R], of the same tokens under the reference, nats.
        estimator: k1 | abs | k2 | k3.

    Returns:
        [B, R], nats; positions off the response hold whatever their logprobs gave.
    """
    difference = logprobs - ref_logprobs
    match estimator:
        case "k1":
            return difference
        case "abs":
            return difference.abs()
        case "k2":
            return 0.5 * difference.square()
        case "k3":
            return torch.expm1(-difference) + difference  # exp(-d) - 1 without cancellation
        case _:
            assert_never(estimator)


def exact_kl(
    logps: Float[Tensor, "B R V"],
    ref_logps: Float[Tensor, "B R V"],
    response_mask: Bool[Tensor, "B R"] | None = None,
) -> Float[Tensor, "B R"]:
    """Returns KL(policy || ref_policy) at each token, summed over the whole vocabulary.

    KL_t = sum_v p_t(v) * (log p_t(v) - log q_t(v)), with 0 * anything = 0

    Args:
        logps: [B, R, V], log-probabilities of the policy: the log-softmax of logits constrained as
            in sampling (`constrain_logits`).
        ref_logps: [B, R, V], of the reference, constrained in the same way.
        response_mask: [B, R], True = this response token counts; None: all do.

    Returns:
        [B, R], nats, >= 0 up to rounding, exactly 0 off the mask. Tokens that the policy cannot
        choose (probability 0) add nothing. Differentiable in both arguments.
    """
    probabilities = logps.exp()
    # Selected before the product: 0 * (-inf + inf) would be NaN, in the gradient too.
    difference = (logps - ref_logps).where(probabilities > 0, 0.0)
    divergence = (probabilities * difference).sum(dim=-1)
    return divergence if response_mask is None else divergence.where(response_mask, 0.0)


def shape_token_rewards(
    token_scores: Float[Tensor, "B R"],
    kl: Float[Tensor, "B R"],
    kl_coef: float,
    response_mask: Bool[Tensor, "B R"],
) -> Float[Tensor, "B R"]:
    """Returns the rewards that PPO sees: token_rewards = token_scores - kl_coef * kl.

    Args:
        token_scores: [B, R], the score after densification; each row sums to the score.
        kl: [B, R], the penalty of each token, nats.
        kl_coef: Weight of the penalty, reward units per nat.
        response_mask: [B, R], True = this response token counts.

    Returns:
        [B, R], exactly 0 off the mask (trl 0.7.4 leaves the KL of the padding there).
    """
    return (token_scores - kl_coef * kl).where(response_mask, 0.0)


def kl_alarm(mean_kl: float) -> str | None:
    """Returns what to tell the user where a batch's KL is so negative that it cannot be one.

    Then the penalty pays reward without bound: responses are not drawn from the distribution whose
    log-probabilities are taken. (Two of the paper's sparse runs end at -350 in this way.)

    Args:
        mean_kl: k1 of a response, summed over its tokens, averaged over the batch, nats.
    """
    if mean_kl >= KL_ALARM:
        return None
    return (
        f"KL alarm: the KL of the batch is estimated as {mean_kl:.1f} nats per response, and no KL "
        f"is negative: unless this is chance in a small batch, responses are scored under another "
        f"distribution than they are sampled from; compare objective/kl with objective/kl_exact"
    )


def next_kl_coef(coef: float, mean_kl: float, responses: int, config: KlConfig) -> float:
    """Returns the KL coefficient after one batch.

    coef' = coef * (1 + clip(mean_kl / target - 1, -0.2, 0.2) * responses / horizon)
    (Ziegler et al. 2019, arXiv 1909.08593, in the form of trl); coef' = coef when fixed.

    Args:
        coef: The coefficient in force.
        mean_kl: KL of a response, summed over its tokens, averaged over the batch, nats. A
            negative one counts as below the target and lowers the coefficient, as in trl.
        responses: Number of responses in the batch.
        config: Controller, target and horizon.

    Returns:
        A Python float, the same on every machine.

    Raises:
        ValueError: `mean_kl` is not finite.
    """
    if not math.isfinite(mean_kl):
        raise ValueError(f"mean_kl must be finite, received {mean_kl}")
    if config.controller == "fixed":
        return coef
    error = mean_kl / config.target - 1
    clipped = min(max(error, -MAX_PROPORTIONAL_ERROR), MAX_PROPORTIONAL_ERROR)
    return coef * (1 + clipped * responses / config.horizon)


class KlController:
    """The KL coefficient over a run. Its whole state is `coef`, which a checkpoint keeps."""

    def __init__(self, config: KlConfig, coef: float | None = None) -> None:
        """Starts at `coef`, as saved in a checkpoint, or else at the configured one."""
        self.config = config
        self.coef = config.coef if coef is None else coef

    def update(self, mean_kl: float, responses: int) -> float:
        """Moves the coefficient after one batch (`next_kl_coef`) and returns it."""
        self.coef = next_kl_coef(self.coef, mean_kl, responses, self.config)
        return self.coef
