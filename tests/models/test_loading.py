"""Models from folders: what was saved comes back, what cannot be loaded is refused in one line."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import InputError, ModelConfig
from abcrl.config.paths import require_model_folder
from abcrl.models import (
    build_causal_lm,
    disable_dropout,
    embedding_rows,
    encode_plain,
    give_pad_token,
    load_causal_lm,
    load_reward_model,
    load_tokenizer,
    new_classifier,
    tokenizer_fingerprint,
)
from abcrl.models.text.tokenizers import PAD
from tests.models.padless import save_without_pad_token

BuildModel = Callable[..., PreTrainedModel]
Folders = dict[str, Path]


def tiny(architecture: str = "gpt2", **options: Any) -> ModelConfig:
    return ModelConfig(base="tiny", architecture=architecture, context_length=32, **options)


def equal_weights(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerBase
) -> Folders:
    """A saved language model and the classifier on its trunk, each with its tokenizer."""
    root = tmp_path_factory.mktemp("models")
    folders = {"lm": root / "lm", "classifier": root / "classifier"}
    model = build_causal_lm(tiny(), tiny_tokenizer, seed=1)
    model.generation_config.repetition_penalty = 3.0
    model.save_pretrained(folders["lm"])
    tiny_tokenizer.save_pretrained(folders["lm"])
    classifier = new_classifier(str(folders["lm"]), tiny_tokenizer, "model", seed=2)
    classifier.save_pretrained(folders["classifier"])
    tiny_tokenizer.save_pretrained(folders["classifier"])
    return folders


def assert_one_line(error: InputError, *parts: str) -> None:
    assert len(str(error).splitlines()) == 1
    for part in parts:
        assert part in str(error)


def test_a_saved_model_comes_back_in_float32_with_its_tokenizer(
    folders: Folders, tiny_tokenizer: PreTrainedTokenizerBase
):
    model, tokenizer = load_causal_lm(str(folders["lm"]), "policy")
    assert equal_weights(model, build_causal_lm(tiny(), tiny_tokenizer, seed=1))
    assert model.dtype == torch.float32
    assert tokenizer.get_vocab() == tiny_tokenizer.get_vocab()


def test_a_checkpoints_own_sampling_options_are_dropped(folders: Folders):
    # They would sample from another distribution than the one that is scored.
    saved = json.loads((folders["lm"] / "generation_config.json").read_text())
    assert saved["repetition_penalty"] == 3.0
    model: Any = load_causal_lm(str(folders["lm"]), "policy")[0]
    assert model.generation_config.repetition_penalty in (None, 1.0)


def test_a_new_classifier_follows_its_seed_alone_and_keeps_the_trunk(
    folders: Folders, tiny_tokenizer: PreTrainedTokenizerBase
):
    reference = str(folders["lm"])
    state = torch.get_rng_state()
    first: Any = new_classifier(reference, tiny_tokenizer, "model", seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    again = new_classifier(reference, tiny_tokenizer, "model", seed=2)
    other: Any = new_classifier(reference, tiny_tokenizer, "model", seed=3)
    trunk, _ = load_causal_lm(reference, "model")

    assert equal_weights(first, again)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert equal_weights(first.base_model, trunk.base_model)
    assert first.config.pad_token_id == tiny_tokenizer.pad_token_id
    loaded, _ = load_reward_model(str(folders["classifier"]), "reward_model")
    assert equal_weights(loaded.model, first)


@pytest.fixture
def padless(folders: Folders, tmp_path: Path) -> str:
    """A language model whose vocabulary has no pad token."""
    return str(save_without_pad_token(folders["lm"], tmp_path / "padless"))


def test_a_pad_token_gets_the_same_row_each_time(padless: str):
    rows = []
    for _ in range(2):
        model, tokenizer = load_causal_lm(padless, "model")
        before, state = embedding_rows(model), torch.get_rng_state()
        give_pad_token(model, tokenizer)
        assert torch.equal(torch.get_rng_state(), state)
        assert embedding_rows(model) == before + 1 == tokenizer.pad_token_id + 1
        embedding: Any = model.get_input_embeddings()
        rows.append(embedding.weight[-1])
        torch.rand(3)  # whatever else the process draws
    assert torch.equal(*rows)


def test_a_model_that_is_loaded_again_has_the_row_of_its_tokenizer_s_pad_token(padless: str):
    tokenizer = load_tokenizer(padless, "model")
    load = partial(new_classifier, padless, tokenizer, "model", seed=2)
    first, again = load(), load()
    assert equal_weights(first, again)
    assert embedding_rows(again) == len(tokenizer)
    assert again.config.pad_token_id == tokenizer.pad_token_id == len(tokenizer) - 1
    batch = tokenizer(["the plot", "the plot was good"], padding=True, return_tensors="pt")
    assert not batch["attention_mask"].all()
    logits: Any = again(**batch).logits
    assert logits.isfinite().all()


def _reword(folder: Path) -> None:
    _edit(folder / "tokenizer.json", lambda rules: rules["pre_tokenizer"].update(
        add_prefix_space=True))  # fmt: skip


def _rename_the_end(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", lambda roles: roles.update(eos_token=PAD))


def _give_a_chat_template(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", lambda roles: roles.update(
        chat_template="{{ messages[0]['content'] }}"))  # fmt: skip


def _edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [_reword, _rename_the_end, _give_a_chat_template])
def test_a_tokenizer_s_fingerprint_is_that_of_its_rules_roles_and_template(
    folders: Folders, tmp_path: Path, change
):
    folder = Path(shutil.copytree(folders["lm"], tmp_path / "lm"))
    before = load_tokenizer(str(folders["lm"]), "model")
    same = load_tokenizer(str(folder), "model")
    encode_plain(same, "The plot")  # to have used it changes nothing
    assert tokenizer_fingerprint(same) == tokenizer_fingerprint(before)
    change(folder)
    changed = load_tokenizer(str(folder), "model")
    assert tokenizer_fingerprint(changed) != tokenizer_fingerprint(before)


@pytest.mark.parametrize("load", [load_causal_lm, load_reward_model])
def test_a_missing_folder_is_refused(tmp_path: Path, load):
    with pytest.raises(InputError) as refused:
        load(str(tmp_path / "nothing"), "policy")
    assert_one_line(refused.value, "policy: ", str(tmp_path / "nothing"), "config.json")


def test_a_hub_id_is_no_missing_folder():
    require_model_folder("someone/some-model", "policy")


def test_a_reward_model_is_refused_as_policy(folders: Folders):
    # With tied embeddings no weight is missing; the trunk would pass for a language model.
    with pytest.raises(InputError) as refused:
        load_causal_lm(str(folders["classifier"]), "policy")
    assert_one_line(refused.value, "policy: ", str(folders["classifier"]), "is a classifier")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[:300])

    return cut


def _reconfigure(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_remove("model.safetensors"), id="no weights"),
        pytest.param(_cut("model.safetensors"), id="weights cut short"),
        pytest.param(_cut("config.json"), id="config cut short"),
        pytest.param(_reconfigure(model_type="nonsense"), id="unknown type"),
        pytest.param(_reconfigure(n_layer=3), id="a layer without weights"),
        pytest.param(_reconfigure(n_embd=32), id="weights of another shape"),
        pytest.param(_without_tokenizer, id="no tokenizer"),
        pytest.param(_cut("tokenizer.json"), id="tokenizer cut short"),
    ],
)
def test_a_damaged_model_folder_is_refused_in_one_line(folders: Folders, tmp_path: Path, damage):
    folder = tmp_path / "model"
    shutil.copytree(folders["lm"], folder)
    load_causal_lm(str(folder), "policy")
    damage(folder)

    with pytest.raises(InputError) as refused:
        load_causal_lm(str(folder), "policy")

    assert_one_line(refused.value, "policy: ", str(folder))


@pytest.mark.parametrize(
    "architecture", ["gpt2", "llama", "mistral", "qwen3", "gpt_neox", "opt", "phi", "gemma"]
)
def test_without_dropout_train_and_eval_mode_agree(
    tiny_tokenizer: PreTrainedTokenizerBase, architecture
):
    model: Any = build_causal_lm(tiny(architecture, dropout=0.5), tiny_tokenizer, seed=1)
    ids = torch.arange(2, 34)[None]
    expected = model.eval()(ids).logits
    assert not torch.equal(model.train()(ids).logits, expected)

    disable_dropout(model)

    assert torch.equal(model.train()(ids).logits, expected)
    assert torch.equal(model.eval()(ids).logits, expected)
