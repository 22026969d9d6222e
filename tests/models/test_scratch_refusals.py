"""Models from scratch that cannot be: one line with the key that is to blame, before any data."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, ModelConfig
from abcrl.models import build_causal_lm, require_buildable

LLAMA = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def tiny(architecture: str = "gpt2", **options: Any) -> ModelConfig:
    return ModelConfig(base="tiny", architecture=architecture, context_length=32, **options)


def refuse(config: ModelConfig) -> str:
    """Returns the refusal, which needs neither data nor tokenizer."""
    with pytest.raises(InputError) as refused:
        require_buildable(config)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 500
    return str(refused.value)


TYPE = "model.architecture: must be a transformers model type with a causal language model"


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("lama", f"{TYPE}, received 'lama'; did you mean llama?"),
        ("nonsense", f"{TYPE}, received 'nonsense'; "),
        ("vit", f"{TYPE}, received 'vit'; "),
        ("t5", f"{TYPE}, received 't5'; "),
        ("", f"{TYPE}, received ''; "),
        ("gpt_neo", f"{TYPE}, received 'gpt_neo' ("),
        ("gemma3", "model.architecture: must be a plain language model, received 'gemma3', which "),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(
    tiny_tokenizer: PreTrainedTokenizerBase, architecture, said
):
    line = refuse(tiny(architecture))
    assert line.startswith(said)
    with pytest.raises(InputError) as refused:
        build_causal_lm(tiny(architecture), tiny_tokenizer, seed=1)
    assert str(refused.value) == line


def test_a_model_that_sees_later_tokens_is_refused():
    # transformers counts bert among the causal language models; alone it reads both ways.
    line = refuse(tiny("bert"))
    assert line.startswith(f"{TYPE}, received 'bert' (its logits depend on later tokens)")
    require_buildable(tiny("bert", options={"is_decoder": True}))


@pytest.mark.parametrize(
    ("architecture", "options", "said"),
    [
        ("llama", {"num_kv_heads": 1}, "num_kv_heads: unknown key of llama, received 1; did you "),
        ("llama", {"sliding_window": 4}, "sliding_window: unknown key of llama, received 4; see "),
        ("gpt2", {"dtype": "bfloat16"}, "dtype: unknown key of gpt2, received 'bfloat16'; see "),
        ("gpt2", {"_name_or_path": "x"}, "_name_or_path: unknown key of gpt2, received 'x'; "),
        ("gpt2", {"vocab_size": 9}, "vocab_size: must be left out (the tokenizer decides it), "),
        ("gpt2", {"pad_token_id": 9}, "pad_token_id: must be left out (the tokenizer decides "),
        ("opt", {"hidden_size": 9}, "hidden_size: must be left out (model.n_embd decides it), "),
        ("gpt2", {"n_embd": 9}, "n_embd: must be left out (model.n_embd decides it), received 9"),
        ("gpt2", {"n_positions": 9}, "n_positions: must be left out (model.context_length "),
    ],
)
def test_an_option_that_is_unknown_or_decided_elsewhere_is_refused(architecture, options, said):
    assert refuse(tiny(architecture, options=options)).startswith(f"model.options.{said}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_key_value_heads": 3}, ".num_key_value_heads: must suit llama, received 3 ("),
        ({"num_key_value_heads": 0}, ".num_key_value_heads: must suit llama, received 0 ("),
        ({"num_key_value_heads": "2"}, ".num_key_value_heads: must suit llama, received '2' ("),
        ({"hidden_act": "no"}, ".hidden_act: must suit llama, received 'no' (unknown 'no'); "),
        (
            {"mlp_bias": True, "num_key_value_heads": 1.5},
            ".num_key_value_heads: must suit llama, received 1.5 (",
        ),
        (
            {"mlp_bias": True, "head_dim": -1},
            ": must suit llama, received {'mlp_bias': True, 'head_dim': -1} (",
        ),
    ],
)
def test_an_option_that_does_not_suit_is_refused_by_its_name(options, said):
    line = refuse(tiny("llama", options=options))
    assert line.startswith(f"model.options{said}")
    assert line.endswith("; change or remove it")


def test_a_shape_that_does_not_suit_is_refused():
    # Rotary embeddings need an even number of dimensions per head.
    line = refuse(tiny("llama", n_embd=6))
    assert line.startswith("model: n_layer, n_embd and n_head must suit llama, received 2, 6 and 2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "vit"}, "must be a transformers model type with a causal language model"),
        ({"model_type": "gemma3"}, "must be a plain language model, received 'gemma3' in "),
        ({"quantization_config": {"bits": 8}}, "must be a plain language model, received 'llama'"),
        ({"hidden_size": "48"}, "must describe a causal language model that runs, received "),
        ({"num_attention_heads": 5}, "must describe a causal language model that runs, received "),
        ({"num_key_value_heads": 3}, "must describe a causal language model that runs, received "),
    ],
)
def test_a_configuration_file_that_cannot_be_built_is_refused_by_its_path(
    tmp_path: Path, changes, said
):
    (tmp_path / "model.json").write_text(json.dumps({**LLAMA, **changes}))
    line = refuse(ModelConfig(base=str(tmp_path / "model.json")))
    assert line.startswith(f"model.base: {said}")
    assert str(tmp_path / "model.json") in line
