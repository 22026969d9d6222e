"""Exact gradients in a world of 27 responses: what every mode keeps, and what it biases.

The world is that of experiments/tabular-check, whose README quotes the same numbers.
"""

import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from abcrl.densification import RewardMode

SCRIPT = Path(__file__).parents[2] / "experiments" / "tabular-check" / "tabular_check.py"
EXACT = {RewardMode.RLHF, RewardMode.RED}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tabular_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tabular_check"] = module
    spec.loader.exec_module(module)
    return module


check: Any = load_script()
every_mode = pytest.mark.parametrize("mode", list(RewardMode))


@pytest.fixture(scope="module")
def worlds() -> Any:
    return check.draw_worlds(seed=0, count=100)


def with_evidence(worlds: Any, **fields: Any) -> Any:
    return worlds._replace(evidence=replace(worlds.evidence, **fields))


@pytest.mark.parametrize("beta", [1.0, 0.8])
@every_mode
def test_the_undiscounted_return_of_every_response_is_its_score(mode, beta, worlds):
    assert check.return_errors(mode, worlds, beta=beta).max() < 1e-5


@pytest.mark.parametrize("offset", [0.0, 5.0])
@pytest.mark.parametrize("mode", sorted(EXACT))
def test_sparse_and_prefix_differences_have_the_exact_gradient(mode, offset, worlds):
    for beta in (1.0, 0.8):
        assert check.relative_errors(mode, worlds, beta=beta, offset=offset).max() < 1e-4
    assert check.constant_score_gradient(mode, worlds).max() < 1e-5


def test_prefix_differences_are_exact_whatever_the_prefix_scores(worlds):
    # Any function of the prefix will do: here one random number for each of the 1 + 3 + 9 prefixes.
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(100, 13, generator=generator)[:, check.STATES].flatten(0, 1)
    guessed = torch.cat([values, torch.full((len(values), 1), float("nan"))], dim=1)
    other = with_evidence(worlds, prefix_scores=guessed)
    assert check.relative_errors("red", other, beta=1.0).max() < 1e-4
    # A V that looks ahead is no function of the prefix, and is not exact.
    ahead = with_evidence(worlds, prefix_scores=torch.randn(guessed.shape, generator=generator))
    assert check.relative_errors("red", ahead, beta=1.0).mean() > 0.2


@pytest.mark.parametrize("mode", [mode for mode in RewardMode if mode not in EXACT])
def test_all_other_modes_bias_the_gradient_in_proportion_to_beta(mode, worlds):
    whole = check.relative_errors(mode, worlds, beta=1.0)
    assert 0.3 < whole.mean() < 0.9
    # beta is the share that is spread; the sparse rest adds no error.
    part = check.relative_errors(mode, worlds, beta=0.8)
    torch.testing.assert_close(part, 0.8 * whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("mode", ["abc", "abc-d", "abc-d2", "shuffled", "random"])
def test_credit_that_depends_on_the_response_makes_the_offset_matter(mode, worlds):
    centred = check.relative_errors(mode, worlds, beta=1.0).mean()
    assert check.relative_errors(mode, worlds, beta=1.0, offset=5.0).mean() > 1.25 * centred
    assert check.constant_score_gradient(mode, worlds).mean() > 0.05


@pytest.mark.parametrize("mode", ["uniform", "position", "swapped"])
def test_credit_that_does_not_treats_an_offset_as_a_baseline(mode, worlds):
    # All responses have the same length here; where lengths differ, so does this credit.
    centred = check.relative_errors(mode, worlds, beta=1.0)
    moved = check.relative_errors(mode, worlds, beta=1.0, offset=5.0)
    torch.testing.assert_close(moved, centred, rtol=1e-3, atol=1e-5)
    assert check.constant_score_gradient(mode, worlds).max() < 1e-5


def test_shuffled_has_the_expected_gradient_of_uniform(worlds):
    orders = [
        with_evidence(worlds, noise=(torch.tensor(order) / 3).expand(worlds.evidence.noise.shape))
        for order in itertools.permutations(range(3))
    ]
    mean = sum(check.token_scores_of("shuffled", one, worlds.scores, 1.0) for one in orders) / 6
    uniform = check.token_scores_of("uniform", worlds, worlds.scores, 1.0)
    torch.testing.assert_close(mean, uniform, rtol=0, atol=1e-6)


def test_the_stand_in_is_what_the_modes_may_look_at(worlds):
    # The same prefix, the same policy attention and prefix score: no look into the future.
    policy = worlds.evidence.policy_attention.reshape(100, 3, 9, 3, 3)
    assert (policy[:, :, :, 1] == policy[:, :, :1, 1]).all()
    values = worlds.evidence.prefix_scores.reshape(100, 3, 9, 4)
    assert (values[..., 1] == values[:, :, :1, 1]).all()
    # E[E[score | prefix]] = E[score], for prefixes of every length.
    p = check.logprobs_of(worlds.logits).sum(-1).exp()
    expected = (p * worlds.scores).sum(-1)
    for t in range(4):
        values_t = worlds.evidence.prefix_scores.reshape(100, 27, 4)[..., t]
        torch.testing.assert_close((p * values_t).sum(-1), expected)


def test_the_tables_print(capsys):
    check.main(count=2)
    printed = capsys.readouterr().out
    assert all(f"\n{mode} " in printed for mode in RewardMode)
    assert "abc   beta 0.8: A is rewarded 0.2, B 0.5; the update prefers B" in printed
