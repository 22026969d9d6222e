"""Every mode against its definition: one row at a time, in plain Python, as a paper has it."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given, settings
from scipy.special import gammaincinv
from torch import Tensor

from abcrl.densification import Evidence, RewardMode
from tests.densification.cases import Case, cases, fields_of

many = settings(max_examples=200)
Row = dict[str, list[float]]


def rlhf(r: int, _row: Row) -> list[float]:
    return [float(j == r - 1) for j in range(r)]


def uniform(r: int, _row: Row) -> list[float]:
    return [1.0] * r


def abc(_r: int, row: Row) -> list[float]:
    return row["reward_attention"]


def shuffled(r: int, row: Row) -> list[float]:
    raw = [0.0] * r
    by_noise = sorted(range(r), key=row["noise"].__getitem__)  # a stable sort
    for token, value in zip(by_noise, row["reward_attention"], strict=True):
        raw[token] = value
    return raw


def swapped(_r: int, row: Row) -> list[float]:
    return row["bank_row"]


def position(r: int, row: Row) -> list[float]:
    """Each tenth's mass in proportion to its overlap with the token, in units of 1 / (10 r)."""
    return [
        sum(
            mass / r * max(0, min(10 * (j + 1), r * (tenth + 1)) - max(10 * j, r * tenth))
            for tenth, mass in enumerate(row["profile"])
        )
        for j in range(r)
    ]


def random(r: int, row: Row) -> list[float]:
    attention = row["reward_attention"]
    if not sum(attention):
        return [0.0] * r
    effective = sum(attention) ** 2 / sum(value**2 for value in attention)
    room = max(r - effective, 1e-300)
    alpha = min(max((effective - 1) / room, 1e-6), 1e6)
    logs = []
    for u in (max(u, 2**-25) for u in row["noise"]):
        x = float(gammaincinv(alpha, u))
        # Below 1e-9, where the inverse underflows, P(x) = x^alpha / gamma(alpha + 1).
        small = (math.log(u) + math.lgamma(alpha + 1)) / alpha
        logs.append(math.log(x) if x > 1e-9 else small)
    return [math.exp(value - max(logs)) for value in logs]


DEFINITIONS = {
    "rlhf": rlhf,
    "uniform": uniform,
    "abc": abc,
    "shuffled": shuffled,
    "swapped": swapped,
    "position": position,
    "random": random,
}


def policy_credit(mode: str, alignment: str, seen: Sequence[Sequence[float]]) -> list[float]:
    r = len(seen)
    raw = list(seen[r - 1])
    if mode == "abc-d":
        raw = [sum(seen[k][j] for k in range(j + 1, r)) / max(1, r - 1 - j) for j in range(r)]
    return [0.0, *raw[:-1]] if alignment == "paper" else raw


def weights_in_plain_python(mode: str, case: Case) -> Tensor:
    rows = []
    observed = {name: values.float().double() for name, values in fields_of(case.evidence).items()}
    for b, mask in enumerate(case.mask):
        columns = mask.nonzero()[:, 0]
        r = len(columns)
        if mode in DEFINITIONS:
            per_token = ("reward_attention", "noise", "bank_row")
            row: Row = {name: observed[name][b, columns].tolist() for name in per_token}
            raw = DEFINITIONS[mode](r, {**row, "profile": observed["profile"].tolist()})
        else:
            seen = observed["policy_attention"][b][columns][:, columns].tolist()
            raw = policy_credit(mode, case.alignment, seen)
        weights = torch.zeros(len(mask))
        shares = [value / sum(raw) if sum(raw) else 1 / r for value in raw]
        weights[columns] = torch.tensor(shares)
        rows.append(weights)
    return torch.stack(rows)


def spread_in_plain_python(case: Case) -> Tensor:
    """red's r_t = V_t - V_{t-1}, in the last token score - V_{r-1} + V_0, at beta."""
    token_scores = torch.zeros(case.mask.shape, dtype=torch.float64)
    prefixes = fields_of(case.evidence)["prefix_scores"].float().double()
    for b, mask in enumerate(case.mask):
        columns = mask.nonzero()[:, 0].tolist()
        score = case.scores[b].float().double()
        V = [prefixes[b, columns[0]], *(prefixes[b, column + 1] for column in columns[:-1])]
        for t, column in enumerate(columns[:-1]):
            token_scores[b, column] = case.beta * (V[t + 1] - V[t])
        token_scores[b, columns[-1]] = case.beta * (score - V[-1] + V[0]) + (1 - case.beta) * score
    return token_scores


SMALLEST_HOLE = Case(
    # Two tokens around a hole: the smallest row in which rank and column differ.
    "paper",
    torch.float32,
    Evidence(
        torch.tensor([[True, False, True]]),
        reward_attention=torch.tensor([[1.0, 9.0, 2.0]]),
        policy_attention=torch.ones(1, 3, 3).tril(-1),
        noise=torch.tensor([[0.7, 0.9, 0.2]]),
        bank_row=torch.tensor([[2.0, 9.0, 1.0]]),
        profile=torch.arange(10.0),
        prefix_scores=torch.tensor([[0.5, 1.0, 9.0, 3.0]]),
    ),
    torch.ones(1),
    0.8,
)


@pytest.mark.parametrize("mode", [mode for mode in RewardMode if mode is not RewardMode.RED])
@many
@given(case=cases())
@example(case=SMALLEST_HOLE)
def test_weights_follow_the_definition(mode, case):
    expected = weights_in_plain_python(mode, case)
    weights = case.run(mode).credit.weights
    torch.testing.assert_close(weights, expected, rtol=0, atol=2e-6)


@many
@given(case=cases())
@example(case=SMALLEST_HOLE)
def test_prefix_differences_follow_the_definition(case):
    expected = spread_in_plain_python(case)
    scale = expected.abs().max().clamp(min=1)
    error = (case.run("red").token_scores.double() - expected).abs()
    assert (error <= 1e-6 * scale).all()
