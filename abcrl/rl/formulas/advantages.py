"""Generalised advantage estimation over the tokens of a response."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Advantages(NamedTuple):
    """What the losses are trained on, both float32, detached and exactly 0 off the mask."""

    advantages: Float[Tensor, "B R"]
    """Not whitened: whitening is over the whole rollout (`masked.whiten`)."""
    returns: Float[Tensor, "B R"]
    """advantages + values: the target of the value function."""


@torch.no_grad()
def estimate_advantages(
    token_rewards: Float[Tensor, "B R"],
    values: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    gamma: float,
    gae_lambda: float,
) -> Advantages:
    """Returns GAE's advantages and the returns, where t + 1 is the next *response* token.

    delta_t = r_t + gamma * V_{t+1} - V_t
    A_t = delta_t + gamma * gae_lambda * A_{t+1}
    return_t = A_t + V_t
    (Schulman et al. 2016, arXiv 1506.02438.) After the last response token, V and A
    are 0: the end of a response is terminal, truncated or not.

    Args:
        token_rewards: [B, R], the reward for choosing token t.
        values: [B, R], the value before token t is chosen.
        response_mask: [B, R], True = this response token counts; any padding side, gaps allowed.
        gamma: Discount per token, 0 to 1.
        gae_lambda: GAE's lambda, 0 to 1.

    Returns:
        Advantages and returns, [B, R] each.

    Deviation from trl 0.7.4: values and advantages are carried over gaps in the mask; there, a gap
    puts a value of 0 behind the token before it.
    """
    rewards, values = token_rewards.float(), values.float()
    next_value = values.new_zeros(values.shape[0])
    next_advantage = torch.zeros_like(next_value)
    columns = []
    for t in reversed(range(values.shape[1])):
        present = response_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        columns.append(advantage.where(present, 0.0))
        next_advantage = advantage.where(present, next_advantage)
        next_value = values[:, t].where(present, next_value)
    advantages = torch.stack(columns[::-1], dim=1)
    return Advantages(advantages, (advantages + values).where(response_mask, 0.0))
