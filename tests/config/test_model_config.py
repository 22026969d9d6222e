"""The model that SFT starts from: what is from scratch, what goes together, what is refused."""

import json
from pathlib import Path

import pytest

from abcrl.config import InputError, ModelConfig, SftConfig, load_config, to_yaml
from abcrl.config.paths import read_model_file, require_tokenizer_folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(*assignments: str) -> ModelConfig:
    given = ["run.output=x", *(f"model.{assignment}" for assignment in assignments)]
    return load_config(SftConfig, assignments=given).model


def refuse(*assignments: str) -> str:
    with pytest.raises(InputError) as caught:
        load(*assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("base", "from_scratch", "has_shape"),
    [
        ("tiny", True, True),
        ("small", True, True),
        ("llama.json", True, False),
        ("./sub/config.json", True, False),
        ("./folder", False, False),
        ("hub/llama", False, False),
    ],
)
def test_sizes_and_configuration_files_are_from_scratch(base, from_scratch, has_shape):
    config = load(f"base={base}")
    assert config.from_scratch is from_scratch
    assert (config.shape is not None) is has_shape


def test_the_shape_overrides_the_named_size():
    assert load("base=small").shape == (4, 256, 4)
    assert load("base=small", "n_layer=2", "n_embd=96").shape == (2, 96, 4)
    assert load("base=tiny", "n_head=8").shape == (2, 64, 8)


def test_what_is_loaded_is_named_by_its_key():
    assert load("base=tiny").references == {}
    assert load("base=hub/model").references == {"base": "hub/model"}
    assert load("base=tiny", "tokenizer=hub/words").references == {"tokenizer": "hub/words"}
    assert load("base=a.json", "tokenizer=hub/words").references == {"tokenizer": "hub/words"}


def test_files_and_folders_become_absolute(tmp_path):
    (tmp_path / "words").mkdir()
    config = load("base=sub/llama.json", "tokenizer=words")
    assert config.base == str(tmp_path / "sub" / "llama.json")
    assert config.tokenizer == str(tmp_path / "words")
    assert load("tokenizer=./absent").tokenizer == str(tmp_path / "absent")


def test_a_home_folder_that_cannot_be_found_is_refused():
    assert refuse("base=~no-such-user-here/a.json").startswith("model.base: ~ must stand for")


@pytest.mark.parametrize(
    "assignments",
    [
        ["base=tiny", "n_layer=3", "n_embd=96", "n_head=3", "vocab_size=300"],
        ["base=a.json", "options={sliding_window: 64, rope_parameters: {rope_theta: 5e5}}"],
        ["tokenizer=./words", "options.num_key_value_heads=2", "options.layer_types=[a, null]"],
        ["base=hub/model"],
    ],
)
def test_the_saved_configuration_loads_as_an_equal_one(tmp_path, monkeypatch, assignments):
    given = ["run.output=x", *(f"model.{assignment}" for assignment in assignments)]
    config = load_config(SftConfig, assignments=given)
    (tmp_path / "saved.yaml").write_text(to_yaml(config))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded = load_config(SftConfig, file=tmp_path / "saved.yaml")
    assert loaded == config
    assert to_yaml(loaded) == to_yaml(config)


def test_options_are_part_of_the_saved_configuration():
    config = load_config(SftConfig, assignments=["run.output=x", "model.options.bias=true"])
    assert "  options:\n    bias: true\n" in to_yaml(config)
    assert "  options: {}\n" in to_yaml(load_config(SftConfig, assignments=["run.output=x"]))


TRAINED = "where base is a trained model, which brings its own, received"
FILE = "where base is a configuration file, which says it, received"


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["n_embd=65", "base=tiny"], "model: n_embd must be divisible by n_head (2), received 65;"),
        (["n_head=3"], "model: n_embd must be divisible by n_head (3), received 256; set both"),
        (["n_layer=0"], "model.n_layer: must be greater than or equal to 1, received 0; "),
        (["n_head=2.0"], "model.n_head: must be a valid integer, received 2.0; "),
        (["base=hub/m", "n_layer=2"], f"model: n_layer must be left out {TRAINED} 2; "),
        (["base=hub/m", "n_head=2"], f"model: n_head must be left out {TRAINED} 2; "),
        (["base=hub/m", "n_embd=64"], f"model: n_embd must be left out {TRAINED} 64; "),
        (["base=./m", "tokenizer=a/b"], f"model: tokenizer must be left out {TRAINED} 'a/b'; "),
        (["base=./m", "options.bias=1"], f"model: options must be left out {TRAINED} {{'bias'"),
        (["base=a.json", "n_layer=2"], f"model: n_layer must be left out {FILE} 2; "),
        (["base=a.json", "architecture=opt"], f"model: architecture must be left out {FILE} 'opt'"),
        (["base=a.json", "context_length=9"], f"model: context_length must be left out {FILE} 9; "),
        (["base=a.json", "dropout=0.5"], f"model: dropout must be left out {FILE} 0.5; "),
        (
            ["tokenizer=a/b", "vocab_size=500"],
            "model: vocab_size must be left out with a tokenizer that is loaded, which has its "
            "vocabulary, received 500; remove one of them",
        ),
        (["options=5"], "model.options: must be a valid dictionary, received 5; "),
        (["options.since=2024-10-10"], "model.options.since: "),
        (["options={5: 6}"], "model.options.5"),
        (["tokenizer=''"], "model.tokenizer: must have at least 1 character"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(assignments, said):
    assert refuse(*assignments).startswith(said)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("./absent", "sft.model.base: must be a model folder with a config.json or a Hub id"),
        ("absent.json", "sft.model.base: must be a transformers configuration file (a model's"),
    ],
)
def test_a_base_that_is_not_there_is_refused_by_its_key(tmp_path, base, said):
    with pytest.raises(InputError) as caught:
        ModelConfig(base=base).require_files("sft.model")
    assert str(caught.value).startswith(said)
    assert f"received {tmp_path / base}" in str(caught.value)


def test_what_is_there_and_what_is_on_the_hub_pass(tmp_path):
    (tmp_path / "llama.json").write_text('{"model_type": "llama"}')
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.json").write_text("{}")
    for config in (
        ModelConfig(base="tiny"),
        ModelConfig(base="llama.json", tokenizer="words"),
        ModelConfig(base="tiny", tokenizer="hub/words"),
        ModelConfig(base="hub/model"),
    ):
        config.require_files("model")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "which names no model_type; add it"),
        (b"[]", "which names no model_type; add it"),
        (b'{"model_type": 5}', "which names no model_type; add it"),
        (b'{"model_type": ', "(Expecting value: line 1 column 16 (char 15)); check the file"),
        (b"\xff\xfe", "check the file"),
    ],
)
def test_a_configuration_file_that_is_none_is_refused(tmp_path, content, said):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_model_file(str(file), "model.base")
    assert str(caught.value).startswith("model.base: must be a transformers configuration file")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_configuration_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json .*directory.*; check the file"):
        read_model_file(str(tmp_path / "a.json"), "model.base")


def test_a_configuration_file_is_read_whole(tmp_path):
    values = {"model_type": "llama", "hidden_size": 8, "rope_parameters": {"rope_theta": 1.0}}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert read_model_file(str(tmp_path / "a.json"), "model.base") == values


@pytest.mark.parametrize("name", [None, "config.json", "model.safetensors"])
def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, name):
    folder = tmp_path / "model"
    if name is not None:
        folder.mkdir()
        (folder / name).touch()
    with pytest.raises(InputError) as caught:
        require_tokenizer_folder(str(folder), "model.tokenizer")
    assert str(caught.value).startswith(
        "model.tokenizer: must be a folder that holds a tokenizer (tokenizer.json, or vocab.json "
        f"with merges.txt) or a Hub id, received {folder}; "
    )


def test_a_tokenizer_s_file_is_no_folder(tmp_path):
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(InputError, match="give the folder that the tokenizer was saved to"):
        require_tokenizer_folder(str(tmp_path / "tokenizer.json"), "model.tokenizer")
