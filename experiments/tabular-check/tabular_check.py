"""What densifying does to the policy gradient, with nothing sampled and nothing estimated.

Worlds of three tokens out of three: 27 responses, each with a random score, and a random policy
over them. All 27 are enumerated, so objective and gradients are exact. For every reward mode:

- is the return of every response its score?
- how far is the gradient that a policy gradient on reward-to-go follows from that of the objective?

Attention is a random stand-in, drawn anew in every world. Run: python tabular_check.py
"""

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from abcrl.densification import (
    Evidence,
    RewardMode,
    assign_credit,
    assign_token_scores,
    densify,
    fit_position_profile,
)

WORLDS: Final = 300
T = A = 3
RESPONSES: Final = torch.tensor(list(itertools.product(range(A), repeat=T)))  # [27, T]
# The policy's state before token t is the prefix so far: number 0, then 1 to 3, then 4 to 12.
STATES: Final = torch.stack(
    [0 * RESPONSES[:, 0], 1 + RESPONSES[:, 0], 4 + A * RESPONSES[:, 0] + RESPONSES[:, 1]], dim=1
)


class Worlds(NamedTuple):
    """W worlds; every response of every world is a row of the evidence, B = W * 27."""

    logits: Tensor
    """[W, 13, A]: the policy in each state."""
    scores: Tensor
    """[W, 27]."""
    evidence: Evidence


def logprobs_of(logits: Tensor) -> Tensor:
    """Return the policy's log-probability of each token of each response, [W, 27, T]."""
    return logits.log_softmax(-1)[:, STATES, RESPONSES]


def prefix_values(logits: Tensor, scores: Tensor) -> Tensor:
    """Return E[score | first t tokens] of every response for t = 0 to T, [W, 27, T + 1]."""
    probabilities = logprobs_of(logits).exp()
    values = [scores]
    for t in reversed(range(T)):
        shape = (-1, A**t, A, A ** (T - t - 1))  # prefix, next token, what follows (all alike)
        expected = (probabilities[:, :, t] * values[0]).reshape(shape).sum(2, keepdim=True)
        values.insert(0, expected.expand(-1, -1, A, -1).reshape(len(scores), -1))
    return torch.stack(values, dim=-1)


def draw_worlds(seed: int, count: int, *, sharpness: float = 1.0) -> Worlds:
    """Return random worlds; attention logits have the standard deviation `sharpness`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    logits, scores = normal(13, A), normal(A**T)
    # The reward model has read the whole response: any attention to it may differ.
    reward_attention = (sharpness * normal(A**T, T)).softmax(-1)
    # The policy, choosing token k, has read the prefix before it: the same prefix, the same row.
    policy_attention = (sharpness * normal(13, T)).softmax(-1)[:, STATES].tril(-1)
    # Belonging to the prompt, these are the same for all 27 responses.
    noise = torch.rand(count, 1, T, generator=generator).expand(-1, A**T, -1)
    bank_row = reward_attention.roll(1, dims=0)[:, :1].expand(-1, A**T, -1)
    mask = torch.ones(count * A**T, T, dtype=torch.bool)
    attended = Evidence(mask, reward_attention.flatten(0, 1))
    evidence = Evidence(
        mask,
        attended.reward_attention,
        policy_attention.flatten(0, 1),
        noise.flatten(0, 1),
        bank_row.flatten(0, 1),
        fit_position_profile(assign_credit("abc", attended).weights, mask),
        prefix_values(logits, scores).flatten(0, 1),
    )
    return Worlds(logits, scores, evidence)


def objective_gradient(worlds: Worlds, scores: Tensor) -> Tensor:
    """Return the gradient of sum over responses of p * score, [W, 13 * A]; no score function."""
    logits = worlds.logits.clone().requires_grad_()
    objective = (logprobs_of(logits).sum(-1).exp() * scores).sum()
    gradient: Tensor = torch.autograd.grad(objective, logits)[0]
    return gradient.flatten(1)


def update_gradient(worlds: Worlds, token_scores: Tensor) -> Tensor:
    """Return sum over responses of p * sum over t of grad log pi(t) * (rewards from t on)."""
    logits = worlds.logits.clone().requires_grad_()
    logprobs = logprobs_of(logits)
    reward_to_go = token_scores.flip(-1).cumsum(-1).flip(-1)
    p = logprobs.sum(-1, keepdim=True).exp().detach()
    gradient: Tensor = torch.autograd.grad((p * logprobs * reward_to_go).sum(), logits)[0]
    return gradient.flatten(1)


def length_of(gradients: Tensor) -> Tensor:
    """Return the Euclidean length of each world's gradient, [W]."""
    return gradients.square().sum(-1).sqrt()


def token_scores_of(mode: str, worlds: Worlds, scores: Tensor, beta: float) -> Tensor:
    """Return the score of each response spread over its tokens, [W, 27, T]."""
    spread = assign_token_scores(mode, worlds.evidence, scores.flatten(), beta).token_scores
    return spread.double().reshape(*scores.shape, T)


def relative_errors(mode: str, worlds: Worlds, *, beta: float, offset: float = 0.0) -> Tensor:
    """Return |update's gradient - objective's gradient| / |objective's gradient|, [W]."""
    exact = objective_gradient(worlds, worlds.scores + offset)
    token_scores = token_scores_of(mode, worlds, worlds.scores + offset, beta)
    return length_of(update_gradient(worlds, token_scores) - exact) / length_of(exact)


def constant_score_gradient(mode: str, worlds: Worlds, *, beta: float = 1.0) -> Tensor:
    """Return |update's gradient| where every score is 1, in units of the scores' own, [W].

    The objective's gradient is 0 there.
    """
    token_scores = token_scores_of(mode, worlds, torch.ones_like(worlds.scores), beta)
    size = length_of(objective_gradient(worlds, worlds.scores)).mean()
    return length_of(update_gradient(worlds, token_scores)) / size


def return_errors(mode: str, worlds: Worlds, *, beta: float) -> Tensor:
    """Return |sum of token scores - score| of every response, [W, 27]."""
    return (token_scores_of(mode, worlds, worlds.scores, beta).sum(-1) - worlds.scores).abs()


def pencil() -> Iterator[str]:
    """Yield what the second token is rewarded with, in an example that needs no computer."""
    mask = torch.ones(2, 2, dtype=torch.bool)
    # After x, A scores 1 and all credit is x's; B scores 0.5 and all credit is B's own.
    evidence = Evidence(mask, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    scores = torch.tensor([1.0, 0.5])
    for mode, beta in [("rlhf", 1.0), ("abc", 0.8), ("abc", 1.0)]:
        weights = assign_credit(mode, evidence).weights
        a, b = densify(scores, weights, mask, beta)[:, 1].tolist()
        better = "A" if a > b else "B"
        yield f"{mode:5} beta {beta}: A is rewarded {a:.1f}, B {b:.1f}; the update prefers {better}"


def _cell(errors: Tensor) -> str:
    low, high = errors.quantile(torch.tensor([0.05, 0.95], dtype=errors.dtype)).tolist()
    return f"{errors.mean():.2f} ({low:.2f} to {high:.2f})"


def main(count: int = WORLDS) -> None:
    """Print the tables, of `count` worlds."""
    worlds = draw_worlds(0, count)
    columns = ("beta 1", "beta 0.8", "beta 1, score + 5", "constant score")
    print(f"{count} worlds; mean (5th to 95th percentile) of the gradient's relative error\n")
    print(f"{'mode':10} {'return':>8}  " + "  ".join(f"{column:20}" for column in columns).rstrip())
    for mode in RewardMode:
        errors = [
            relative_errors(mode, worlds, beta=1.0),
            relative_errors(mode, worlds, beta=0.8),
            relative_errors(mode, worlds, beta=1.0, offset=5.0),
            constant_score_gradient(mode, worlds),
        ]
        changed = return_errors(mode, worlds, beta=0.8).max()
        cells = "  ".join(f"{_cell(column):20}" for column in errors)
        print(f"{mode:10} {changed:8.0e}  {cells.rstrip()}")
    print("\nabc at beta 1 with attention of another sharpness (standard deviation of its logits):")
    for sharpness in (0.0, 0.5, 1.0, 2.0, 4.0):
        drawn = draw_worlds(0, count, sharpness=sharpness)
        print(f"  {sharpness:3} {_cell(relative_errors('abc', drawn, beta=1.0))}")
    print("\nwith a pencil:", *pencil(), sep="\n  ")


if __name__ == "__main__":
    main()
