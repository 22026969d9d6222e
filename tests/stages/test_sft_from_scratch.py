"""sft from random weights: shapes, configuration files and tokenizers of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from abcrl.config import CompareConfig, InputError, SftConfig, load_config, to_yaml
from abcrl.models import encode_plain, load_tokenizer
from abcrl.reporter import SilentReporter
from abcrl.stages.plan import require_inputs
from abcrl.stages.sft import run_sft

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 88,
    "vocab_size": 32000,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
# What tests/conftest.py says of its tiny model, and what these ways to give one leave out.
LEFT_OUT: dict[str, Any] = {"model__vocab_size": 1024}
LEFT_OUT_BY_FILE: dict[str, Any] = {"model__context_length": 256}


@pytest.fixture
def bpe(tiny_runs, tmp_path: Path) -> Path:
    """A folder with a vocabulary in GPT-2's style, and nothing else."""
    folder = tmp_path / "bpe"
    folder.mkdir()
    tokenizer = Tokenizer.from_file(str(tiny_runs.policy / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    assert {path.name for path in folder.iterdir()} == {"vocab.json", "merges.txt"}
    return folder


def train(config: SftConfig) -> tuple[Any, Any]:
    """Returns the model and tokenizer of a finished run, as transformers loads them."""
    result = run_sft(config, SilentReporter())
    assert 0 < result.heldout_loss < 6.5
    return (
        AutoModelForCausalLM.from_pretrained(result.final),
        AutoTokenizer.from_pretrained(result.final),
    )


def test_a_shape_of_one_s_own_is_trained(tiny_runs, tmp_path):
    config = tiny_runs.sft(
        tmp_path / "run",
        model__architecture="llama",
        model__n_layer=3,
        model__n_head=4,
        model__n_embd=48,
        **{"model__options.num_key_value_heads": 2},
    )
    model, tokenizer = train(config)
    assert len(model.model.layers) == 3
    assert (model.config.hidden_size, model.config.num_attention_heads) == (48, 4)
    assert model.config.num_key_value_heads == 2
    assert model.config.vocab_size == len(tokenizer)


def test_a_configuration_file_is_trained_with_a_tokenizer_of_the_data(tiny_runs, tmp_path):
    (tmp_path / "llama.json").write_text(json.dumps(LLAMA))
    config = tiny_runs.sft(
        tmp_path / "run", model__base=str(tmp_path / "llama.json"), **LEFT_OUT_BY_FILE
    )
    model, tokenizer = train(config)
    assert model.config.model_type == "llama"
    assert model.config.hidden_size == 32
    assert model.config.max_position_embeddings == 88
    assert model.config.vocab_size == len(tokenizer) == 400
    assert model.config.eos_token_id == tokenizer.eos_token_id
    # The tokenizer depends on the data alone.
    named = AutoTokenizer.from_pretrained(tiny_runs.policy)
    assert tokenizer.get_vocab() == named.get_vocab()


def test_a_loaded_tokenizer_is_the_model_s(tiny_runs, tmp_path, bpe):
    config = tiny_runs.sft(tmp_path / "run", model__tokenizer=str(bpe), **LEFT_OUT)
    model, tokenizer = train(config)
    given = load_tokenizer(str(bpe), "model.tokenizer")
    assert given.get_vocab().items() <= tokenizer.get_vocab().items()
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model.config.eos_token_id == tokenizer.eos_token_id
    text = " it 's , so "
    assert tokenizer.decode(encode_plain(tokenizer, text)) == text


def test_a_pad_token_has_its_row_before_training_starts(tiny_runs, tmp_path, bpe):
    vocabulary = json.loads((bpe / "vocab.json").read_text())
    del vocabulary["<|pad|>"]  # id 1, which is a gap then
    (bpe / "vocab.json").write_text(json.dumps(vocabulary))
    config = tiny_runs.sft(tmp_path / "run", model__tokenizer=str(bpe), **LEFT_OUT)
    model, tokenizer = train(config)
    assert tokenizer.pad_token == "<|pad|>"
    rows = model.get_input_embeddings().weight.shape[0]
    assert rows == max(tokenizer.get_vocab().values()) + 1 > tokenizer.pad_token_id


def test_the_saved_configuration_repeats_the_run_to_the_byte(tiny_runs, tmp_path, bpe):
    (tmp_path / "llama.json").write_text(json.dumps(LLAMA))
    config = tiny_runs.sft(
        tmp_path / "first",
        model__base=str(tmp_path / "llama.json"),
        model__tokenizer=str(bpe),
        **{"model__options.rope_parameters": {"rope_theta": 500.0}},
        **LEFT_OUT,
        **LEFT_OUT_BY_FILE,
    )
    run_sft(config, SilentReporter())
    saved = tmp_path / "first" / "config.yaml"
    assert saved.read_text() == to_yaml(config)
    flags = {"run.output": str(tmp_path / "second")}
    run_sft(load_config(SftConfig, file=saved, flags=flags), SilentReporter())
    for name in ("metrics.jsonl", "final/model.safetensors", "final/tokenizer.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__base": "./absent.json"}, "model.base: must be a transformers configuration file"),
        ({"model__base": "./absent"}, "model.base: must be a model folder with a config.json or"),
        ({"model__base": "some/model"}, "model.base: must be a local folder or a Hub id that can"),
        ({"model__tokenizer": "./absent"}, "model.tokenizer: must be a folder that holds a token"),
        ({"model__tokenizer": "some/words"}, "model.tokenizer: must be a local folder or a Hub id"),
        ({"model__architecture": "t5"}, "model.architecture: must be a transformers model type "),
        ({"model__options.n_layers": 3}, "model.options.n_layers: unknown key of gpt2, received 3"),
        ({"model__options.activation_function": "x"}, "model.options.activation_function: must "),
        ({"model__options.n_inner": "x"}, "model.options.n_inner: must suit gpt2, received 'x' ("),
    ],
)
def test_a_starting_point_that_cannot_be_is_refused_before_data_are_read(
    tiny_runs, tmp_path, monkeypatch, changes, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # Were data read first, this would be the refusal.
    settings = LEFT_OUT | LEFT_OUT_BY_FILE | {"data__source": "./absent.jsonl"}
    with pytest.raises(InputError) as caught:
        run_sft(tiny_runs.sft(tmp_path / "run", **settings, **changes), SilentReporter())
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_context_that_the_file_gives_is_the_longest_text(tiny_runs, tmp_path):
    (tmp_path / "llama.json").write_text(json.dumps(LLAMA))
    config = tiny_runs.sft(
        tmp_path / "run",
        model__base=str(tmp_path / "llama.json"),
        training__max_length=96,
        **LEFT_OUT_BY_FILE,
    )
    with pytest.raises(InputError, match=r"^training\.max_length: must fit .* context of 88 token"):
        run_sft(config, SilentReporter())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sft.model.base": "./absent.json"}, "sft.model.base: must be a transformers config"),
        ({"sft.model.tokenizer": "./absent"}, "sft.model.tokenizer: must be a folder that holds a"),
    ],
)
def test_a_comparison_refuses_a_starting_point_that_is_not_there(
    tmp_path, monkeypatch, changes, said
):
    monkeypatch.chdir(tmp_path)
    config = load_config(CompareConfig, flags=changes)
    with pytest.raises(InputError) as caught:
        require_inputs(config, ask_hub=False)
    assert str(caught.value).startswith(said)
