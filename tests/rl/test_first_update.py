"""Before the first optimizer step the policy is the one that the responses were drawn from."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.formulas.losses import policy_loss
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.rollout import Rollout
from abcrl.rl.update import Experience, PolicyUpdater
from tests.rl.network_kinds import KINDS, actors_of_kind
from tests.rl.rollouts import collect

MakeActors = Callable[..., Actors]
Distances = Callable[..., list[float]]
SHUFFLED = [11, 3, 14, 6, 0, 9, 5, 12, 2, 15, 8, 1, 10, 4, 13, 7]


@pytest.fixture
def distances(monkeypatch) -> Distances:
    """distances(actors, rollout, settings, order, **algorithm): max |ratio - 1| of each pass.

    The learning rate moves no float32 weight, so that every pass is one before the first step.
    """
    found: list[float] = []

    def watching(logprobs: Tensor, old_logprobs: Tensor, *rest: Any) -> Any:
        mask = rest[1]
        ratios = torch.exp(logprobs.detach() - old_logprobs)[mask]
        found.append(float((ratios - 1).abs().max()))
        return policy_loss(logprobs, old_logprobs, *rest)

    monkeypatch.setattr("abcrl.rl.update.policy_loss", watching)

    def measure(
        actors: Actors, rollout: Rollout, settings: PpoSettings, order: list[int], **algorithm: Any
    ) -> list[float]:
        updater = PolicyUpdater(
            actors.policy,
            Accelerator(cpu=True),
            settings.ppo.replace(learning_rate=1e-12, **algorithm),
            settings.response,
            eos_token_id=actors.eos_token_id,
            reference=ReferenceKl.of(actors, settings),
        )
        found.clear()
        updater.update(Experience.of(rollout), [torch.tensor(order)])
        return found

    return measure


@pytest.fixture(
    params=[*(("gpt2", kind) for kind in KINDS), ("llama", "shared"), ("llama", "lora")],
    ids="-".join,
)
def actors(request, make_actors: MakeActors, settings: PpoSettings) -> Actors:
    architecture, kind = request.param
    return actors_of_kind(make_actors(architecture), settings, **KINDS[kind])


@pytest.mark.parametrize("size", [1, 4])
def test_ratios_are_one_in_any_mini_batch(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings, distances: Distances, size
):
    rollout = collect(actors, prompts, settings)
    found = distances(actors, rollout, settings, SHUFFLED, mini_batch_size=size)
    assert len(found) == 16 // size
    assert max(found) <= 1e-5


def test_ratios_are_exactly_one_in_the_rollouts_own_batch(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings, distances: Distances
):
    rollout = collect(actors, prompts, settings)
    assert distances(actors, rollout, settings, list(range(16)), mini_batch_size=16) == [0.0]


def test_the_exact_kl_of_the_first_responses_is_zero(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(actors, prompts, settings)
    mask = rollout.responses.response_mask
    assert (rollout.tokens.kl_exact * mask).sum(-1).abs().max() <= 1e-6
