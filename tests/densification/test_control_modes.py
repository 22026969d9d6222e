"""The control modes on tables that a reader can check with a pencil, and what each one keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor

from abcrl.densification import (
    Evidence,
    assign_credit,
    effective_tokens,
    fit_position_profile,
    resample_weights,
)
from abcrl.densification.dirichlet import CONCENTRATIONS, matching_concentration


def weights_of(mode: str, mask: list[int], **observed: list[float]) -> Tensor:
    # The profile belongs to no row; all else is one row.
    fields: dict[str, Any] = {
        name: torch.tensor(values if name == "profile" else [values])
        for name, values in observed.items()
    }
    credit = assign_credit(mode, Evidence(torch.tensor([mask], dtype=torch.bool), **fields))
    assert credit.fell_back.tolist() == [False]
    return credit.weights[0]


def same(weights: Tensor, expected: object) -> bool:
    return torch.allclose(weights, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "noise", "attention", "expected"),
    [
        # By noise the tokens are 1, 3, 0, 2: they get 0.1, 0.2, 0.3, 0.4 in this order.
        ([1, 1, 1, 1], [0.7, 0.1, 0.9, 0.3], [0.1, 0.2, 0.3, 0.4], [0.3, 0.1, 0.4, 0.2]),
        # Rising noise, or none at all: nothing moves.
        ([1, 1, 1], [0.1, 0.2, 0.3], [0.5, 0.2, 0.3], [0.5, 0.2, 0.3]),
        ([1, 1, 1], [0.5, 0.5, 0.5], [0.5, 0.2, 0.3], [0.5, 0.2, 0.3]),
        # The two response tokens swap around a hole; the 9s are no part of the response.
        ([1, 0, 1], [0.8, 9.0, 0.2], [1.0, 9.0, 3.0], [0.75, 0, 0.25]),
        ([0, 1, 1], [9.0, 0.8, 0.2], [9.0, 1.0, 3.0], [0, 0.75, 0.25]),
    ],
)
def test_shuffled_credits_by_rank_of_noise(mask, noise, attention, expected):
    assert same(weights_of("shuffled", mask, noise=noise, reward_attention=attention), expected)


@pytest.mark.parametrize(
    ("mask", "bank_row", "expected"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.1], [0.25, 0.5, 0.25]),
        ([1, 0, 1], [0.1, 9.0, 0.3], [0.25, 0, 0.75]),
    ],
)
def test_swapped_credits_what_the_bank_says(mask, bank_row, expected):
    assert same(weights_of("swapped", mask, bank_row=bank_row), expected)


RAMP = [float(value) for value in range(1, 11)]  # sums to 55


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        # Ten tokens, one tenth each.
        ([1] * 10, [value / 55 for value in RAMP]),
        # Five tokens of two tenths: 1 + 2, 3 + 4, 5 + 6, 7 + 8, 9 + 10.
        ([1] * 5, [3 / 55, 7 / 55, 11 / 55, 15 / 55, 19 / 55]),
        # Four tokens of two and a half: 1 + 2 + 3/2, 3/2 + 4 + 5, 6 + 7 + 8/2, 8/2 + 9 + 10.
        ([1] * 4, [4.5 / 55, 10.5 / 55, 17 / 55, 23 / 55]),
        # Twenty tokens of half a tenth.
        ([1] * 20, [value / 110 for value in RAMP for _ in range(2)]),
        # Two tokens around a hole, and one alone.
        ([1, 0, 1], [15 / 55, 0, 40 / 55]),
        ([0, 1, 0], [0, 1, 0]),
    ],
)
def test_position_lays_the_profile_over_the_response(mask, expected):
    assert same(weights_of("position", mask, profile=RAMP), expected)


def test_position_without_a_profile_is_uniform_and_flagged():
    mask = torch.tensor([[True, True, False], [False, True, True]])
    credit = assign_credit("position", Evidence(mask, profile=torch.zeros(10)))
    assert credit.fell_back.tolist() == [True, True]
    assert credit.weights.tolist() == [[0.5, 0.5, 0], [0, 0.5, 0.5]]


def test_random_draws_exponentials_at_concentration_one():
    # abc's credit (1/2, 1/2, 0) has N = 2 effective tokens of r = 3, so alpha = (2 - 1) / (3 - 2) =
    # 1: Dirichlet weights are exponential variates over their sum. Those of u = 1/2, 3/4, 7/8 are
    # -log(1 - u) = log 2, 2 log 2, 3 log 2.
    observed = {"reward_attention": [0.3, 0.3, 0.0, 9.0], "noise": [0.5, 0.75, 0.875, 9.0]}
    assert same(weights_of("random", [1, 1, 1, 0], **observed), [1 / 6, 2 / 6, 3 / 6, 0])


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        # N = 1: one token takes all, the one with the largest noise, not the one attended to.
        ([0.0, 0.4, 0.0], [0, 0, 1]),
        # N = r: uniform.
        ([0.4, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_random_at_the_ends_of_sparsity(attention, expected):
    weights = weights_of("random", [1, 1, 1], reward_attention=attention, noise=[0.2, 0.3, 0.9])
    torch.testing.assert_close(weights, torch.tensor(expected).float(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("mode", ["shuffled", "swapped", "random"])
def test_no_credit_to_keep_falls_back_to_uniform_and_is_flagged(mode):
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    empty_first = torch.tensor([[5.0, 0, 0, 0], [0, 0, 1.0, 0]])
    evidence = Evidence(
        mask, empty_first, noise=torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2), bank_row=empty_first
    )
    credit = assign_credit(mode, evidence)
    assert credit.fell_back.tolist() == [True, False]
    assert same(credit.weights[0], [0, 1 / 3, 1 / 3, 1 / 3])


def spiky_rows(rows: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The same attention in every row, about 15 effective tokens of 50, and noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(length, generator=generator).pow(6).expand(rows, length)
    noise = torch.rand(rows, length, generator=generator)
    return torch.ones(rows, length, dtype=torch.bool), attention, noise


def test_shuffled_keeps_the_weights_and_random_the_sparsity():
    mask, attention, noise = spiky_rows(4000, 50)
    evidence = Evidence(mask, attention, noise=noise)
    abc, shuffled, random = (
        assign_credit(mode, evidence).weights for mode in ("abc", "shuffled", "random")
    )
    torch.testing.assert_close(shuffled.sort(-1).values, abc.sort(-1).values)

    # What is matched is the mean of sum w^2 = 1 / N_eff: within four standard errors.
    squares = random.square().sum(-1)
    expected = abc[0].square().sum()
    assert (squares.mean() - expected).abs() < 4 * squares.std() / 4000**0.5
    # The arithmetic mean of N_eff lies above, as documented.
    excess = effective_tokens(random).mean() / effective_tokens(abc[0][None])
    assert 1.02 < excess < 1.08

    # On average over the noise both are uniform: their expected gradient is that of uniform.
    for weights in (shuffled, random):
        error = weights.std(0) / 4000**0.5
        assert ((weights.mean(0) - 1 / 50).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("effective", "length", "alpha"),
    [
        # (N - 1) / (r - N).
        (2.0, 3, 1.0),
        (5.0, 13, 0.5),
        (2.0, 10, 0.125),
        (1.0, 7, CONCENTRATIONS[0]),
        (1.0, 1, CONCENTRATIONS[0]),
        (7.0, 7, CONCENTRATIONS[1]),
    ],
)
def test_matching_concentration(effective, length, alpha):
    found = matching_concentration(torch.tensor([effective]), torch.tensor([length]))
    torch.testing.assert_close(found, torch.tensor([alpha]))


@pytest.mark.parametrize(
    ("weights", "mask", "onto", "expected"),
    [
        # (3/4, 1/4) on one token, on two, on four.
        ([3, 1], [1, 1], [1], [4]),
        ([3, 1], [1, 1], [1, 1], [3, 1]),
        ([3, 1], [1, 1], [1, 1, 1, 1], [1.5, 1.5, 0.5, 0.5]),
        # On three: 2/3 of the first; its last third and the first third of the second; the rest.
        ([3, 1], [1, 1], [1, 1, 1], [2, 1 + 1 / 3, 2 / 3]),
        # Holes on both sides: the tokens are counted by rank.
        ([9, 3, 9, 1], [0, 1, 0, 1], [1, 0, 1, 0, 0], [3, 0, 1, 0, 0]),
        ([0, 0, 0], [1, 1, 1], [1, 1], [0, 0]),
    ],
)
def test_resampling_keeps_mass_and_place(weights, mask, onto, expected):
    masks = (torch.tensor([row], dtype=torch.bool) for row in (mask, onto))
    assert same(resample_weights(torch.tensor([weights]).float(), *masks)[0], expected)


def test_profile_is_the_mean_credit_of_each_tenth():
    # Row 0: ten tokens, one a tenth. Row 1: two tokens, 3/4 and 1/4 over five tenths each.
    weights = torch.tensor(
        [[value / 55 for value in RAMP], [0.0] * 3 + [0.75] + [0.0] * 5 + [0.25]]
    )
    mask = torch.tensor([[True] * 10, [False] * 3 + [True] + [False] * 5 + [True]])
    halves = [0.15] * 5 + [0.05] * 5
    expected = [(value / 55 + half) / 2 for value, half in zip(RAMP, halves, strict=True)]
    assert same(fit_position_profile(weights, mask), expected)


@pytest.mark.parametrize("length", [10, 20, 70])
def test_a_profile_returns_from_the_responses_it_is_laid_over(length):
    profile = torch.tensor(RAMP) / 55
    mask = torch.ones(3, length, dtype=torch.bool)
    weights = assign_credit("position", Evidence(mask, profile=profile)).weights
    torch.testing.assert_close(fit_position_profile(weights, mask), profile)
