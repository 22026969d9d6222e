"""Models from scratch: the asked-for shape, and weights that the seed alone decides."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from abcrl.config import ModelConfig
from abcrl.config.training import SIZES
from abcrl.models import build_causal_lm, require_buildable

ARCHITECTURES = [
    "gpt2",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "opt",
    "phi",
    "gemma",
    "gptj",
    "falcon",
    "bloom",
]
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "attention_dropout": 0.25,
    "rope_theta": 500.0,
    "vocab_size": 32000,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": 31999,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.0",
}


def tiny(architecture: str = "gpt2", **options: Any) -> ModelConfig:
    return ModelConfig(base="tiny", architecture=architecture, context_length=32, **options)


def from_file(folder: Path, values: object, **options: Any) -> ModelConfig:
    (folder / "model.json").write_text(json.dumps(values))
    return ModelConfig(base=str(folder / "model.json"), **options)


def equal_weights(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_built_model_follows_its_seed_alone(
    tiny_tokenizer: PreTrainedTokenizerBase, architecture
):
    state = torch.get_rng_state()
    require_buildable(tiny(architecture))
    first = build_causal_lm(tiny(architecture, dropout=0.5), tiny_tokenizer, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again = build_causal_lm(tiny(architecture, dropout=0.5), tiny_tokenizer, seed=1)
    other = build_causal_lm(tiny(architecture, dropout=0.5), tiny_tokenizer, seed=2)

    assert equal_weights(first, again)
    assert not equal_weights(first, other)


def test_a_shape_that_is_spelled_out_is_the_named_one(tiny_tokenizer: PreTrainedTokenizerBase):
    named = build_causal_lm(tiny(), tiny_tokenizer, seed=1)
    spelled = ModelConfig(base="small", n_layer=2, n_head=2, n_embd=64, context_length=32)
    assert equal_weights(named, build_causal_lm(spelled, tiny_tokenizer, seed=1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_built_model_has_the_asked_for_size_and_vocabulary(
    tiny_tokenizer: PreTrainedTokenizerBase, architecture
):
    model: Any = build_causal_lm(tiny(architecture, dropout=0.25), tiny_tokenizer, seed=1)
    size = SIZES["tiny"]

    assert model.get_input_embeddings().weight.shape == (len(tiny_tokenizer), size.hidden_size)
    assert model.config.num_hidden_layers == size.layers
    assert model.config.pad_token_id == tiny_tokenizer.pad_token_id
    assert model.config.eos_token_id == tiny_tokenizer.eos_token_id
    # Defaults for models of billions of parameters are gone: it is as small as it says, and runs.
    assert model.num_parameters() < 250_000
    assert model(torch.ones(1, 32, dtype=torch.long)).logits.shape == (1, 32, len(tiny_tokenizer))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_shape_is_honoured_and_comes_back_from_a_folder(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path, architecture
):
    config = tiny(architecture, n_layer=3, n_head=4, n_embd=96, dropout=0.25)
    require_buildable(config)
    model: Any = build_causal_lm(config, tiny_tokenizer, seed=1)
    layers = [one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one) == 3]
    assert layers
    assert model.config.num_hidden_layers == 3
    assert model.config.hidden_size == 96
    assert model.config.num_attention_heads == 4
    assert model.get_input_embeddings().weight.shape == (len(tiny_tokenizer), 96)
    assert model.num_parameters() < 600_000

    model.save_pretrained(tmp_path)
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert equal_weights(model, again)
    ids = torch.arange(2, 34)[None]
    assert torch.equal(model.eval()(ids).logits, again.eval()(ids).logits)
    for name in ("bos", "eos", "pad"):
        wanted = getattr(tiny_tokenizer, f"{name}_token_id")
        assert getattr(again.config, f"{name}_token_id") == wanted
        assert getattr(again.generation_config, f"{name}_token_id") == wanted


@pytest.mark.parametrize(
    ("architecture", "options", "parameter", "shape"),
    [
        ("llama", {"num_key_value_heads": 1}, "model.layers.0.self_attn.k_proj.weight", (32, 64)),
        ("mistral", {"head_dim": 16}, "model.layers.0.self_attn.q_proj.weight", (32, 64)),
        ("gpt2", {"n_inner": 100}, "transformer.h.0.mlp.c_fc.weight", (64, 100)),
        ("opt", {"ffn_dim": 100}, "model.decoder.layers.0.fc1.weight", (100, 64)),
        ("llama", {"attention_bias": True}, "model.layers.0.self_attn.q_proj.bias", (64,)),
        (
            "gpt_neo",  # its default layers are 24
            {"attention_types": [[["global", "local"], 1]], "window_size": 8},
            "transformer.h.1.attn.attention.k_proj.weight",
            (64, 64),
        ),
    ],
)
def test_options_win_over_what_follows_from_the_shape(
    tiny_tokenizer: PreTrainedTokenizerBase, architecture, options, parameter, shape
):
    config = tiny(architecture, options=options)
    model = build_causal_lm(config, tiny_tokenizer, seed=1)
    assert model.get_parameter(parameter).shape == shape
    for name, value in options.items():
        assert getattr(model.config, name) == value


def test_building_does_not_change_the_configuration(tiny_tokenizer: PreTrainedTokenizerBase):
    # transformers completes nested values in place; config.yaml holds what was given.
    options: Any = {"rope_parameters": {"rope_theta": 500.0}}
    config = tiny("llama", options=options)
    model: Any = build_causal_lm(config, tiny_tokenizer, seed=1)
    assert model.config.rope_parameters["rope_type"] == "default"
    assert config.options == {"rope_parameters": {"rope_theta": 500.0}}


def test_dropout_yields_to_options(tiny_tokenizer: PreTrainedTokenizerBase):
    config = tiny(dropout=0.25, options={"attn_pdrop": 0.5})
    model: Any = build_causal_lm(config, tiny_tokenizer, seed=1)
    assert (model.config.attn_pdrop, model.config.resid_pdrop) == (0.5, 0.25)


def test_a_configuration_file_decides_all_but_the_vocabulary(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
):
    config = from_file(tmp_path, LLAMA)
    require_buildable(config)
    model: Any = build_causal_lm(config, tiny_tokenizer, seed=1)

    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_key_value_heads"):
        assert getattr(model.config, name) == LLAMA[name]
    assert model.config.max_position_embeddings == 40
    assert model.config.attention_dropout == 0.25
    assert model.config.rope_parameters["rope_theta"] == 500.0
    assert model.get_parameter("model.layers.2.self_attn.k_proj.weight").shape == (24, 48)
    # The vocabulary and its tokens are the tokenizer's; weights to be trained are float32.
    assert model.get_input_embeddings().weight.shape == (len(tiny_tokenizer), 48)
    assert model.config.vocab_size == len(tiny_tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(model.config, name) == getattr(tiny_tokenizer, name)
        assert getattr(model.generation_config, name) == getattr(tiny_tokenizer, name)
    assert model.dtype == torch.float32

    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.dtype == torch.float32
    assert equal_weights(model, again)


def test_options_change_a_configuration_file(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
):
    values = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 16}
    # Its own names and transformers' common ones are the same keys.
    options: Any = {"num_hidden_layers": 3, "n_head": 4}
    config = from_file(tmp_path, values, options=options)
    model: Any = build_causal_lm(config, tiny_tokenizer, seed=1)
    assert (model.config.n_layer, model.config.n_head, model.config.n_embd) == (3, 4, 32)
    assert len(model.transformer.h) == 3


def test_a_saved_model_s_configuration_builds_the_same_model(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
):
    model = build_causal_lm(tiny("qwen3", n_layer=3), tiny_tokenizer, seed=1)
    model.save_pretrained(tmp_path)
    config = ModelConfig(base=str(tmp_path / "config.json"))
    assert equal_weights(build_causal_lm(config, tiny_tokenizer, seed=1), model)


def test_the_vocabulary_has_a_row_for_every_id(tiny_tokenizer: PreTrainedTokenizerBase):
    class WithGap:
        bos_token_id, eos_token_id, pad_token_id = None, 7, 9

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "<eos>": 7, "<pad>": 9}

    tokenizer: Any = WithGap()
    model: Any = build_causal_lm(tiny(), tokenizer, seed=1)
    assert model.get_input_embeddings().weight.shape == (10, 64)
    assert model.config.bos_token_id is None
