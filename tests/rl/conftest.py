"""Tiny random actors, prompts and settings for everything that needs whole models."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from abcrl.config import AlgorithmConfig, PpoSettings, RunFailedError
from abcrl.data import Prompt
from abcrl.models import PolicyWithValueHead, RewardModel
from abcrl.rl.actors import Actors
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.scoring.scorer import Scorer
from abcrl.rl.update import Experience, PolicyUpdater
from tests.rl.rollouts import collect

BuildModel = Callable[..., PreTrainedModel]
MakeActors = Callable[..., Actors]
Train = Callable[..., tuple[PolicyUpdater, dict[str, Tensor], Any]]

EOS = 0


@pytest.fixture(scope="session")
def make_actors(tiny_causal_lm: BuildModel, tiny_classifier: BuildModel) -> MakeActors:
    """make(architecture="gpt2", **config): a policy, itself as reference, and a reward model."""

    def make(architecture: str = "gpt2", **config: Any) -> Actors:
        # A small vocabulary, so that some responses end in EOS and some are cut at their cap.
        config = {"vocab_size": 16, **config}
        reference = tiny_causal_lm(architecture, **config).requires_grad_(False)
        return Actors(
            PolicyWithValueHead(tiny_causal_lm(architecture, **config), seed=5).eval(),
            reference,
            Scorer(
                RewardModel(tiny_classifier(architecture, seed=9, **config).requires_grad_(False))
            ),
            EOS,
        )

    return make


@pytest.fixture
def drifted_actors(make_actors: MakeActors) -> Actors:
    """A policy that has moved away from its reference."""
    actors = make_actors()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in actors.policy.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return actors


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """Sixteen prompts of one to seven tokens."""
    generator = torch.Generator().manual_seed(8)
    lengths = [1 + row % 7 for row in range(16)]
    return [
        Prompt(100 + row, tuple(torch.randint(2, 16, (length,), generator=generator).tolist()))
        for row, length in enumerate(lengths)
    ]


@pytest.fixture(scope="session")
def settings() -> PpoSettings:
    """Responses of two to nine tokens, some of which end in EOS."""
    return PpoSettings.model_validate(
        {
            "response": {"min_new_tokens": 2, "cap_low": 3, "cap_high": 9, "temperature": 0.9},
            "ppo": {"batch_size": 16, "mini_batch_size": 4},
        }
    )


@pytest.fixture
def experience(drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings) -> Experience:
    """Six responses of the drifted policy."""
    return Experience.of(collect(drifted_actors, prompts[:6], settings))


@pytest.fixture
def train(drifted_actors: Actors, settings: PpoSettings) -> Train:
    """train(experience, *orders, **algorithm): updater, weights and result of a fresh copy.

    With `reference`, a `ReferenceKl`; with `rate`, a learning rate for this update.
    """

    def run(
        experience: Experience,
        *orders: list[int],
        reference: ReferenceKl | None = None,
        rate: float | None = None,
        **algorithm: Any,
    ) -> Any:
        policy = copy.deepcopy(drifted_actors.policy)
        updater = PolicyUpdater(
            policy,
            Accelerator(cpu=True),
            AlgorithmConfig(
                **{"batch_size": 6, "mini_batch_size": 1, "learning_rate": 1e-3, **algorithm}
            ),
            settings.response,
            eos_token_id=EOS,
            reference=reference,
        )
        error = result = None
        try:
            result = updater.update(
                experience, [torch.tensor(order) for order in orders], learning_rate=rate
            )
        except RunFailedError as failed:
            error = failed
        return updater, policy.state_dict(), result if error is None else error

    return run
