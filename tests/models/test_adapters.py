"""Low-rank adapters: nothing at first, off for the reference, merged for saving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from abcrl.config import InputError, LoraConfig
from abcrl.models import (
    adapters_off,
    add_adapters,
    merge_adapters,
    merged_weights,
    response_logits,
)

BuildModel = Callable[..., PreTrainedModel]

# Conv1D and Linear, tied and untied heads, grouped keys, biases or none.
ARCHITECTURES = ["gpt2", "llama", "gpt_neox", "opt", "gptj", "qwen2", "gemma"]
LORA = LoraConfig(rank=4, alpha=8.0)


def logits_of(model: PreTrainedModel) -> Tensor:
    ids = torch.randint(2, 64, (3, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return response_logits(model, ids, torch.ones(3, 9, dtype=torch.bool), 5)[0]


def train_a_little(model: PreTrainedModel) -> None:
    """Puts numbers where training would: into B, which is 0 at first."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_new_adapters_change_nothing_and_off_ones_neither(tiny_causal_lm: BuildModel, architecture):
    model = tiny_causal_lm(architecture)
    before = logits_of(model)
    add_adapters(model, LORA, seed=1)
    assert torch.equal(logits_of(model), before)

    train_a_little(model)
    trained = logits_of(model)
    assert (trained - before).abs().max() > 0.1
    with adapters_off(model):
        assert torch.equal(logits_of(model), before)
    assert torch.equal(logits_of(model), trained)


def test_an_adapter_adds_its_product_times_alpha_over_rank(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("llama")
    name = "model.layers.1.self_attn.q_proj"
    add_adapters(model, LoraConfig(rank=4, alpha=6.0, target_modules=[name]), seed=1)
    train_a_little(model)
    layer = model.get_submodule(name)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        a = layer.get_parameter("lora_A.default.weight")
        b = layer.get_parameter("lora_B.default.weight")
        expected = x @ layer.get_parameter("base_layer.weight").T + 6.0 / 4 * (x @ a.T) @ b.T
        assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def test_only_adapters_are_trained_and_on_all_linear_layers_but_the_head(
    tiny_causal_lm: BuildModel,
):
    model = tiny_causal_lm("llama")
    add_adapters(model, LORA, seed=1)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all(".lora_" in name for name in trained)
    assert len(trained) == 3 * 7 * 2  # q k v o gate up down, A and B
    assert not any("lm_head" in name for name in trained)
    with adapters_off(model):
        logits_of(model)
    assert trained == [name for name, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        (["q_proj", "v_proj"], 6),
        (["layers.0.mlp.up_proj"], 1),
        (["q_proj", "self_attn.q_proj"], 3),
    ],
)
def test_target_modules_are_names_or_ends_of_names(tiny_causal_lm: BuildModel, targets, layers):
    model = tiny_causal_lm("llama")
    add_adapters(model, LoraConfig(rank=1, target_modules=targets), seed=1)
    adapted = [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert len(adapted) == layers


@pytest.mark.parametrize("target", ["query", "proj", "lm_head", "embed_tokens", "self_attn"])
def test_a_target_that_names_no_linear_layer_is_refused_with_those_that_do(
    tiny_causal_lm: BuildModel, target
):
    model = tiny_causal_lm("llama")
    with pytest.raises(InputError) as caught:
        add_adapters(model, LoraConfig(target_modules=["q_proj", target]), seed=1)
    assert str(caught.value) == (
        "networks.lora.target_modules: must name linear layers of the model (q_proj, k_proj, "
        f"v_proj, o_proj, gate_proj, up_proj, down_proj), received {target!r}; choose some of "
        "these, or leave it out for all"
    )
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_follow_their_seed_alone(tiny_causal_lm: BuildModel):
    def drawn(seed: int) -> list[Tensor]:
        model = tiny_causal_lm()
        add_adapters(model, LORA, seed=seed)
        return [p for name, p in model.named_parameters() if "lora_A" in name]

    state = torch.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, drawn(2), strict=True))
    for a in first:
        assert a.shape[0] == 4
        assert 0.8 < float(a.detach().abs().max()) * a.shape[1] ** 0.5 <= 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_weights_load_as_an_ordinary_model_that_computes_the_same(
    tiny_causal_lm: BuildModel, tmp_path: Path, architecture
):
    model = tiny_causal_lm(architecture)
    names = set(model.state_dict())
    add_adapters(model, LORA, seed=1)
    train_a_little(model)
    expected = logits_of(model)

    assert set(merged_weights(model)) == names
    model.save_pretrained(tmp_path, state_dict=merged_weights(model))
    read: Any = AutoModelForCausalLM.from_pretrained
    loaded, report = read(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert_close(logits_of(loaded.eval()), expected, atol=1e-4, rtol=0)
    assert torch.equal(logits_of(model), expected)  # and the model keeps its adapters


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_head_is_trained_whole_beside_adapters(tiny_classifier: BuildModel, architecture):
    model = tiny_classifier(architecture)
    add_adapters(model, LORA, seed=1, whole=["score"])
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [name for name in trained if ".lora_" not in name] == ["score.weight"]
    assert not any("score" in name and "lora_" in name for name in trained)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_merged_model_is_an_ordinary_one(tiny_causal_lm: BuildModel, architecture):
    model = tiny_causal_lm(architecture)
    names = set(model.state_dict())
    adapters = add_adapters(model, LORA, seed=1)
    train_a_little(model)
    expected, weights = logits_of(model), merged_weights(model)
    assert merge_adapters(model, adapters) is model
    assert set(model.state_dict()) == names
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert_close(logits_of(model), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_what_was_learnt_moves_into_the_model_loaded_again(
    tiny_classifier: BuildModel, architecture
):
    """As of a model in 4 bits, whose layers are [outputs, inputs] whatever they were made of."""
    model, again = tiny_classifier(architecture), tiny_classifier(architecture)
    adapters = add_adapters(model, LORA, seed=1, whole=["score"])
    train_a_little(model)
    with torch.no_grad():
        model.get_parameter("score.weight").add_(1.0)
    ids = torch.randint(2, 64, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        for _, layer in model.named_modules():  # quantised Conv1D layers are linear ones
            if getattr(layer, "fan_in_fan_out", False):
                layer.fan_in_fan_out = False
        assert merge_adapters(model, adapters, again) is again
        assert_close(again(input_ids=ids).logits, expected, atol=1e-4, rtol=0)
