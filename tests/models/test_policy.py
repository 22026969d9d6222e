"""The policy's forward pass: the model's own numbers, at response positions only."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from abcrl.models import PolicyWithValueHead, position_ids, response_logits

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
        expected = hidden @ policy.value_head.weight[0] + policy.value_head.bias

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
    assert first.value_head.weight.shape == (1, 32)
