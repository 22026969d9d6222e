"""GAE: tables by hand, limits of lambda, gaps and padding."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from abcrl.rl.formulas.advantages import estimate_advantages

SEEDS = st.integers(0, 2**32 - 1)
UNITS = st.floats(0, 1)


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    values = torch.tensor([[0.5, 1.0, 0.25]])

    estimate = estimate_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 0.5)

    # token 2: delta 2 + 0 - 0.25 = 1.75 (the end is terminal)     A = 1.75
    # token 1: delta 0 + 0.25 - 1 = -0.75                           A = -0.75 + 1.75 / 2 = 0.125
    # token 0: delta 1 + 1 - 0.5 = 1.5                              A = 1.5 + 0.125 / 2 = 1.5625
    assert estimate.advantages.tolist() == [[1.5625, 0.125, 1.75]]
    assert estimate.returns.tolist() == [[2.0625, 1.125, 2.0]]  # plus the values


def test_discounted_advantages_by_hand():
    rewards = torch.tensor([[0.0, 0.0, 8.0]])
    values = torch.tensor([[1.0, 2.0, 4.0]])

    estimate = estimate_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), 0.5, 0.5)

    # token 2: delta 8 - 4 = 4                      A = 4
    # token 1: delta 0 + 4 / 2 - 2 = 0              A = 0 + 0.5 * 0.5 * 4 = 1
    # token 0: delta 0 + 2 / 2 - 1 = 0              A = 0 + 0.5 * 0.5 * 1 = 0.25
    assert estimate.advantages.tolist() == [[0.25, 1.0, 4.0]]


def test_a_gap_is_stepped_over():
    # The same three tokens with a gap after the first and padding on both sides. In trl the gap's
    # value, 0, would stand behind token 0: delta 1 + 0 - 0.5.
    rewards = torch.tensor([[9.0, 1.0, math.nan, 0.0, 2.0, 9.0]])
    values = torch.tensor([[9.0, 0.5, math.inf, 1.0, 0.25, 9.0]])
    mask = torch.tensor([[False, True, False, True, True, False]])

    estimate = estimate_advantages(rewards, values, mask, 1.0, 0.5)

    assert estimate.advantages.tolist() == [[0.0, 1.5625, 0.0, 0.125, 1.75, 0.0]]
    assert estimate.returns.tolist() == [[0.0, 2.0625, 0.0, 1.125, 2.0, 0.0]]


def test_lambda_discounts_a_terminal_reward_even_without_discounting():
    # With values of 0 and gamma 1 a score on the last token reaches token t as lambda^(T - t).
    rewards = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)

    estimate = estimate_advantages(rewards, torch.zeros(1, 4), mask, 1.0, 0.95)

    assert_close(estimate.advantages, torch.tensor([[0.95**3, 0.95**2, 0.95, 1.0]]))


def test_dense_rewards_can_prefer_the_worse_continuation():
    # The pencil example: after x, A scores 1 with credit (1, 0), B scores 0.5 with credit (0, 1).
    # beta 0.8 gives the token scores (0.8, 0.2) and (0, 0.5); at the second token, where the
    # choice is made, A is rewarded 0.2 and B 0.5. The undiscounted returns are 1 and 0.5.
    rewards = torch.tensor([[0.8, 0.2], [0.0, 0.5]])

    estimate = estimate_advantages(
        rewards, torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool), 1.0, 1.0
    )

    assert_close(estimate.advantages, torch.tensor([[1.0, 0.2], [0.5, 0.5]]))


def random_rollout(seed: int, batch: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns rewards, values and a mask with gaps; NaN off the mask; no row without a token."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(batch, width, generator=generator) < 0.6
    mask[:, seed % width] = True
    rewards, values = (torch.randn(batch, width, generator=generator) for _ in range(2))
    return rewards.where(mask, math.nan), values.where(mask, math.nan), mask


@given(SEEDS, st.integers(1, 3), st.integers(1, 12))
def test_at_lambda_1_the_advantage_is_reward_to_go_minus_value(seed, batch, width):
    rewards, values, mask = random_rollout(seed, batch, width)

    estimate = estimate_advantages(rewards, values, mask, 1.0, 1.0)

    rewards_to_go = rewards.where(mask, 0.0).flip(1).cumsum(1).flip(1)
    assert_close(estimate.returns, rewards_to_go.where(mask, 0.0), rtol=1e-5, atol=1e-5)
    assert_close(estimate.advantages, (rewards_to_go - values).where(mask, 0.0))


@given(SEEDS, st.integers(1, 12), UNITS, UNITS)
def test_a_row_with_gaps_equals_its_tokens_side_by_side(seed, width, gamma, gae_lambda):
    rewards, values, mask = random_rollout(seed, 3, width)

    estimate = estimate_advantages(rewards, values, mask, gamma, gae_lambda)

    for row in range(3):
        present = mask[row]
        alone = estimate_advantages(
            rewards[row, present][None],
            values[row, present][None],
            torch.ones(1, int(present.sum()), dtype=torch.bool),
            gamma,
            gae_lambda,
        )
        assert torch.equal(estimate.advantages[row, present], alone.advantages[0])
        assert torch.equal(estimate.returns[row, present], alone.returns[0])
    assert (estimate.advantages[~mask] == 0).all()
    assert (estimate.returns[~mask] == 0).all()


@given(SEEDS, st.integers(2, 12), UNITS)
def test_at_lambda_0_the_advantage_is_the_td_error(seed, width, gamma):
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(2, width, generator=generator) for _ in range(2))

    estimate = estimate_advantages(rewards, values, torch.ones(2, width).bool(), gamma, 0.0)

    next_values = torch.cat([values[:, 1:], torch.zeros(2, 1)], dim=1)
    assert_close(estimate.advantages, rewards + gamma * next_values - values)


def test_the_result_is_float32_and_detached():
    values = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)

    estimate = estimate_advantages(torch.ones(1, 2), values, torch.ones(1, 2).bool(), 1.0, 0.95)

    for part in estimate:
        assert part.dtype == torch.float32
        assert not part.requires_grad
