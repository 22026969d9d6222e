"""Every kind of network: the same start, the same mathematics, only other parameters trained."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.testing import assert_close

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.models import compute_in_bf16
from abcrl.rl.actors import Actors
from abcrl.rl.reference_kl import ReferenceKl, reference_logits
from abcrl.rl.rollout import Rollout
from abcrl.rl.token_statistics import evaluate_tokens
from abcrl.rl.update import Experience, PolicyUpdater, UpdateResult
from tests.rl.network_kinds import KINDS, actors_of_kind
from tests.rl.rollouts import collect, sample, with_mode

MakeActors = Callable[..., Actors]
ORDER = [3, 1, 4, 0, 5, 2, 7, 6]


@pytest.fixture(params=KINDS)
def actors(request, make_actors: MakeActors, settings: PpoSettings) -> Actors:
    return actors_of_kind(make_actors(), settings, **KINDS[request.param])


def update(
    actors: Actors, rollout: Rollout, settings: PpoSettings, *orders: list[int], **algorithm: Any
) -> UpdateResult:
    chosen = settings.ppo.replace(**algorithm)
    updater = PolicyUpdater(
        actors.policy,
        Accelerator(cpu=True),
        chosen,
        settings.response,
        eos_token_id=actors.eos_token_id,
        reference=ReferenceKl.of(actors, settings),
    )
    return updater.update(Experience.of(rollout), [torch.tensor(order) for order in orders])


def weights_of(actors: Actors) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in actors.policy.named_parameters()}


def test_the_first_step_starts_at_the_reference_and_at_ratio_one(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(actors, prompts[:8], settings)
    mask = rollout.responses.response_mask
    assert rollout.tokens.kl_exact.abs().max() <= 1e-6
    assert (rollout.tokens.logprobs - rollout.tokens.ref_logprobs)[mask].abs().max() <= 1e-6

    means = update(actors, rollout, settings, ORDER, learning_rate=1e-12).means
    assert means is not None
    # approx_kl is the mean of log_ratio^2 / 2, and no square exceeds the sum of all.
    assert (2 * int(mask.sum()) * means.approx_kl) ** 0.5 <= 1e-5
    assert means.mean_ratio == pytest.approx(1, abs=1e-6)


def test_training_moves_what_is_trained_and_nothing_else(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(actors, prompts[:8], settings)
    before = weights_of(actors)
    parameters = dict(actors.policy.named_parameters())
    update(actors, rollout, settings, ORDER, ORDER, learning_rate=1e-3)

    moved = {name for name, tensor in weights_of(actors).items() if not tensor.equal(before[name])}
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    assert "value_head.weight" in moved
    for name, tensor in before.items():
        assert (name in moved) == (name in trained), (name, tensor.shape)
    adapters = {name for name in trained if "lora_" in name}
    trunk = {name for name in trained if name.startswith("model.")}
    assert trunk == (adapters or trunk)
    assert not actors.policy.training
    after = collect(actors, prompts[:8], settings)
    assert after.tokens.kl_exact.max() > 1e-5  # and the reference stayed where it was


def test_the_reference_is_the_model_that_training_began_with(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(actors, prompts[:8], settings)
    before = reference_logits(actors, rollout.responses, settings.response)
    update(actors, rollout, settings, ORDER, learning_rate=1e-2)
    after = reference_logits(actors, rollout.responses, settings.response)
    assert torch.equal(before, after)
    # and looking at it leaves the policy as it is
    trained = collect(actors, prompts[:8], settings)
    assert torch.equal(trained.tokens.logprobs, collect(actors, prompts[:8], settings).tokens[0])


@pytest.mark.parametrize("kind", ["shared", "lora"])
def test_gradient_checkpointing_computes_layers_twice_and_the_same(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, kind
):
    results = []
    for networks in (KINDS[kind], {**KINDS[kind], "gradient_checkpointing": True}):
        actors = actors_of_kind(make_actors(), settings, **networks)
        rollout = collect(actors, prompts[:8], settings)
        calls: list[None] = []
        # The beginning of a layer: recomputing ends with the last tensor that is needed.
        norm = actors.policy.model.get_submodule("transformer.h.2.ln_1")
        norm.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        update(actors, rollout, settings, ORDER, mini_batch_size=4, batch_size=8)
        results.append((len(calls), weights_of(actors)))
    (plain, expected), (checkpointed, weights) = results
    assert (plain, checkpointed) == (2, 4)
    for name, tensor in expected.items():
        assert_close(weights[name], tensor, atol=1e-7, rtol=0, msg=name)


@pytest.mark.parametrize("loss", ["k2", "exact"])
def test_a_kl_loss_pulls_a_policy_with_adapters_back_to_its_own_base(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, loss
):
    actors = actors_of_kind(make_actors(), settings, **KINDS["lora"])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in actors.policy.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    pulled = settings.replace(kl=settings.kl.replace(loss=loss, loss_coef=1e3))
    start = collect(actors, prompts[:8], pulled)
    result = update(actors, start, pulled, *[ORDER] * 6, learning_rate=1e-3)
    end = evaluate_tokens(actors, start.responses, pulled, with_attention=False)
    assert result.means is not None
    assert result.means.kl_loss is not None
    assert result.means.kl_loss > 0
    assert float(end.kl_exact.sum()) < 0.8 * float(start.tokens.kl_exact.sum())


@pytest.mark.parametrize("mode", ["abc-d", "abc-d2"])
def test_attention_is_captured_through_adapters(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, mode
):
    plain = make_actors()
    expected = collect(plain, prompts[:8], with_mode(settings, mode))
    actors = actors_of_kind(make_actors(), settings, **KINDS["lora"])
    rollout = collect(actors, prompts[:8], with_mode(settings, mode))
    assert_close(rollout.credit.weights, expected.credit.weights, atol=1e-6, rtol=0)
    with torch.no_grad():  # where the adapters say something, it is the adapted attention
        for name, parameter in actors.policy.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    moved = collect(actors, prompts[:8], with_mode(settings, mode))
    assert (moved.credit.weights[:, :3] - expected.credit.weights[:, :3]).abs().max() > 1e-3


def test_separate_values_start_as_the_scores_of_prefixes(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = actors_of_kind(make_actors(), settings, **KINDS["separate"])
    responses = sample(actors, prompts[:8], settings)
    rollout = collect(actors, prompts[:8], settings)
    scored = actors.scorer.score(responses, frozenset({"prefix_scores"}))
    assert scored.prefix_scores is not None
    mask = responses.response_mask
    assert_close(rollout.tokens.values[mask], scored.prefix_scores[:, :-1][mask], atol=1e-5, rtol=0)
    assert rollout.tokens.values[mask].std() > 0.1


def test_training_a_separate_value_model_leaves_the_reward_model(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = actors_of_kind(make_actors(), settings, **KINDS["separate"])
    before = copy.deepcopy(actors.scorer.reward_model.model.state_dict())
    update(actors, collect(actors, prompts[:8], settings), settings, ORDER, learning_rate=1e-2)
    for name, tensor in actors.scorer.reward_model.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_separate_value_model_leaves_the_policys_trunk_to_the_policy_loss(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    def trunk_after(kind: str, vf_coef: float) -> Tensor:
        actors = actors_of_kind(make_actors(), settings, **KINDS[kind])
        rollout = collect(actors, prompts[:8], settings)
        experience = Experience.of(rollout)._replace(
            advantages=rollout.responses.response_mask + 0.0
        )
        updater = PolicyUpdater(
            actors.policy,
            Accelerator(cpu=True),
            settings.ppo.replace(learning_rate=1e-3, vf_coef=vf_coef),
            settings.response,
            eos_token_id=actors.eos_token_id,
        )
        updater.update(experience, [torch.tensor(ORDER)])
        return actors.policy.model.get_parameter("transformer.h.1.mlp.c_fc.weight").detach()

    assert torch.equal(trunk_after("separate", 0.0), trunk_after("separate", 5.0))
    assert not torch.equal(trunk_after("shared", 0.0), trunk_after("shared", 5.0))


def test_bf16_is_one_distribution_for_sampling_scoring_and_training(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    wide = collect(make_actors(), prompts[:8], settings)
    actors = actors_of_kind(make_actors(), settings, **KINDS["separate"], precision="bf16")
    assert actors.ref_policy is not None
    compute_in_bf16(actors.ref_policy)
    rollout = collect(actors, prompts[:8], settings)
    logprobs = rollout.tokens.logprobs
    assert logprobs.dtype == torch.float32
    assert not torch.equal(logprobs, wide.tokens.logprobs)
    # policy and reference round alike, and the update sees what the rollout saw
    assert rollout.tokens.kl_exact.abs().max() <= 1e-6
    means = update(actors, rollout, settings, list(range(8)), learning_rate=1e-12).means
    assert means is not None
    assert means.approx_kl <= 1e-3
    result = update(actors, rollout, settings, ORDER, learning_rate=1e-3)
    assert result.skipped == 0
    for parameter in actors.policy.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
