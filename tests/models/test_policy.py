"""The policy's forward pass: the model's own numbers, at response positions only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from abcrl.config import LoraConfig
from abcrl.models import (
    PolicyWithValueHead,
    RewardModel,
    ValueModel,
    add_adapters,
    position_ids,
    response_logits,
    save_policy,
)

BuildModel = Callable[..., PreTrainedModel]

# gemma scales its embeddings, gemma2 caps its logits: both are the model's own affair.
ARCHITECTURES = ["gpt2", "llama", "mistral", "gpt_neox", "opt", "phi", "gemma", "gemma2", "gptj"]
P, R, V = 4, 5, 64


def batch() -> tuple[Tensor, Tensor]:
    """Returns left-padded prompts followed by right-padded responses, and their mask."""
    ids = torch.randint(2, V, (3, P + R), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, P + R, dtype=torch.bool)
    mask[0, :2] = False
    mask[1, :3] = False
    mask[1, P + 2 :] = False
    return ids, mask


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_response_logits_are_the_slice_of_the_whole_forward(
    tiny_causal_lm: BuildModel, architecture
):
    model: Any = tiny_causal_lm(architecture)
    ids, mask = batch()
    with torch.no_grad():
        logits, hidden = response_logits(model, ids, mask, R)
        whole = model(
            input_ids=ids, attention_mask=mask.long(), position_ids=position_ids(mask)
        ).logits

    assert whole.shape == (3, P + R, V)
    assert_close(logits, whole[:, P - 1 : -1], atol=1e-6, rtol=0)
    assert hidden.shape == (3, R, 32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_runs_at_response_positions_only(tiny_causal_lm: BuildModel, architecture):
    model = tiny_causal_lm(architecture)
    shapes: list[tuple[int, ...]] = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda *call: shapes.append(tuple(call[-1].shape)))

    output = PolicyWithValueHead(model, seed=0)(*batch(), R)

    assert shapes == [(3, R, V)]
    assert output.logits.shape == (3, R, V)
    assert output.values.shape == (3, R)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_values_come_from_the_hidden_state_that_the_logits_come_from(
    tiny_causal_lm: BuildModel, architecture
):
    model: Any = tiny_causal_lm(architecture)
    policy = PolicyWithValueHead(model, seed=0)
    ids, mask = batch()
    with torch.no_grad():
        values = policy(ids, mask, R).values
        hidden = model.base_model(
            input_ids=ids, attention_mask=mask.long(), position_ids=position_ids(mask)
        ).last_hidden_state[:, P - 1 : -1]
        head = policy.value_head
        expected = hidden @ head.get_parameter("weight")[0] + head.get_parameter("bias")

    assert expected.std() > 0.05
    assert_close(values, expected, atol=1e-5, rtol=0)


def test_no_hook_stays_behind_even_after_an_error(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm()
    ids, mask = batch()
    response_logits(model, ids, mask, R)
    with pytest.raises(IndexError):
        response_logits(model, ids + 1000, mask, R)
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_gradients_reach_trunk_and_value_head(tiny_causal_lm: BuildModel):
    policy = PolicyWithValueHead(tiny_causal_lm("llama"), seed=0)
    output = policy(*batch(), R)
    (output.logits.sum() + output.values.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in policy.parameters())


def test_the_value_head_follows_its_seed_alone(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm()
    state = torch.get_rng_state()
    first = PolicyWithValueHead(model, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # nothing else is drawn differently
    torch.rand(3)
    again, other = PolicyWithValueHead(model, seed=1), PolicyWithValueHead(model, seed=2)

    for name, parameter in first.value_head.named_parameters():
        assert torch.equal(parameter, again.value_head.get_parameter(name))
        assert not torch.equal(parameter, other.value_head.get_parameter(name))
        assert parameter.abs().max() <= 32**-0.5
    assert first.value_head.get_parameter("weight").shape == (1, 32)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_a_separate_trunk_gives_the_values_and_the_policy_the_logits(
    tiny_causal_lm: BuildModel, architecture
):
    model = tiny_causal_lm(architecture)
    value = ValueModel.from_policy(tiny_causal_lm(architecture, seed=3))
    policy = PolicyWithValueHead(model, seed=0, value=value)
    ids, mask = batch()
    with torch.no_grad():
        output = policy(ids, mask, R)
        # the same head on the other model's own trunk
        other = PolicyWithValueHead(tiny_causal_lm(architecture, seed=3), seed=0)
        expected = other(ids, mask, R)
        logits = PolicyWithValueHead(model, seed=0)(ids, mask, R).logits

    assert torch.equal(output.logits, logits)
    assert_close(output.values, expected.values, atol=1e-6, rtol=0)
    assert (output.values - PolicyWithValueHead(model, seed=0)(ids, mask, R).values).std() > 0.01


def test_values_are_in_the_units_that_ppo_sees(tiny_causal_lm: BuildModel):
    policy = PolicyWithValueHead(tiny_causal_lm(), seed=0).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    plain = policy(ids, mask, 2).values
    policy.value_offset, policy.value_scale = 0.5, 2.0

    assert_close(policy(ids, mask, 2).values, (plain - 0.5) / 2.0)


def test_a_value_trunk_is_a_copy(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm().requires_grad_(False)
    value = ValueModel.from_policy(model)
    own = {id(parameter) for parameter in model.parameters()}
    for parameter in value.trunk.parameters():
        assert id(parameter) not in own
        assert parameter.requires_grad


@pytest.mark.parametrize("kind", ["two labels", "one label", "v_head", "v_head of two layers"])
def test_a_value_model_starts_as_the_reward_models_score_of_each_prefix(
    tiny_classifier: BuildModel, tiny_causal_lm: BuildModel, kind
):
    if kind.startswith("v_head"):
        network: Any = tiny_causal_lm("llama").base_model
        layers = [nn.Linear(32, 1)] if kind == "v_head" else [
            nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 1),
        ]  # fmt: skip
        network.add_module("v_head", nn.Sequential(*layers) if len(layers) > 1 else layers[0])
    elif kind == "one label":
        network = tiny_classifier("llama", num_labels=1, id2label={0: "score"})
    else:
        network = tiny_classifier("llama")
    reward_model = RewardModel(network.requires_grad_(False))
    value = ValueModel.from_reward_model(reward_model, None)
    policy = PolicyWithValueHead(tiny_causal_lm("llama"), seed=0, value=value)
    ids, mask = batch()
    with torch.no_grad():
        values = policy(ids, mask, R).values
    prefixes = reward_model.score(ids, mask, with_prefixes=True).prefix_scores
    assert prefixes is not None
    real = mask[:, P - 1 : -1]
    assert prefixes[:, P - 1 : -1][real].std() > 0.01
    assert_close(values[real], prefixes[:, P - 1 : -1][real], atol=1e-5, rtol=0)
    trained = [parameter.requires_grad for parameter in policy.parameters()]
    assert all(trained)
    assert not hasattr(policy.value_trunk, "v_head")
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_saved_policy_is_what_transformers_saves(
    tiny_causal_lm: BuildModel, tmp_path: Path, architecture
):
    model = tiny_causal_lm(architecture)
    (tmp_path / "ours").mkdir()
    save_policy(PolicyWithValueHead(model, seed=0), tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    for file in (tmp_path / "theirs").iterdir():
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()
    head = load_file(tmp_path / "ours" / "value_head.safetensors")
    assert {name: tuple(value.shape) for name, value in head.items()} == {
        "weight": (1, 32),
        "bias": (1,),
    }


def test_a_saved_policy_has_its_adapters_merged_and_its_value_trunk_beside_it(
    tiny_causal_lm: BuildModel, tmp_path: Path
):
    model = tiny_causal_lm("llama")
    value = ValueModel.from_policy(model)
    add_adapters(model, LoraConfig(rank=2), seed=1)
    policy = PolicyWithValueHead(model, seed=0, value=value)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.02)
        save_policy(policy, tmp_path)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        ids, mask = batch()
        expected = policy(ids, mask, R)
        assert_close(response_logits(loaded, ids, mask, R)[0], expected.logits, atol=1e-4, rtol=0)
    stored = load_file(tmp_path / "value_trunk.safetensors")
    assert policy.value_trunk is not None
    for name, tensor in policy.value_trunk.state_dict().items():
        assert torch.equal(stored[name], tensor)
