"""Is there a v_head among the weights: told without torch, in every format."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from abcrl.config import InputError
from abcrl.config.paths import require_model_folder
from abcrl.config.weights import WEIGHT_FILES, find_weights, holds_value_head
from tests.models.reward.value_heads import FORMATS, save_weights

TRUNK = {"transformer.wte.weight": torch.zeros(3, 2), "lm_head.weight": torch.zeros(3, 2)}
WITH = [
    "v_head.weight",
    "v_head.summary.weight",
    "v_head.0.weight",
    "module.v_head.bias",
]
WITHOUT = ["score.weight", "kv_head.weight", "v_heads.weight", "transformer.v_head"]


def write(folder: Path, form: str, name: str) -> Path:
    """A folder of a language model whose weights hold one more name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    file = folder / form
    if form.endswith(".json"):
        names = ", ".join(f'"{one}": "shard"' for one in [*TRUNK, name])
        file.write_text(f'{{"metadata": {{}}, "weight_map": {{{names}}}}}')
    else:
        save_weights(file, {**TRUNK, name: torch.zeros(2)})
    return file


def test_the_formats_are_those_that_transformers_looks_for():
    assert list(WEIGHT_FILES) == FORMATS


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", [*WITH, *WITHOUT])
def test_a_value_head_is_found_by_its_name_alone(tmp_path, form, name):
    file = write(tmp_path, form, name)
    assert find_weights(tmp_path) == file
    assert holds_value_head(file) == (name in WITH)


@pytest.mark.parametrize("name", [WITH[0], WITHOUT[0]])
def test_a_file_of_torch_before_1_6_is_looked_through(tmp_path, name):
    file = tmp_path / "pytorch_model.bin"
    weights = {**TRUNK, name: torch.zeros(2)}
    save_weights(file, weights, _use_new_zipfile_serialization=False)
    assert holds_value_head(file) == (name in WITH)


def test_the_first_of_several_files_counts(tmp_path):
    assert find_weights(tmp_path) is None
    for form in reversed(FORMATS):
        file = write(tmp_path, form, "score.weight")
        assert find_weights(tmp_path) == file


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\x80\x02", b"\xff" * 40])
def test_a_damaged_file_holds_none(tmp_path, form, content):
    (tmp_path / form).write_bytes(content)
    assert holds_value_head(tmp_path / form) is False
    file = write(tmp_path, form, "v_head.weight")
    file.write_bytes(file.read_bytes()[:20])
    assert holds_value_head(file) is False


def test_a_file_that_cannot_be_read_holds_none(tmp_path):
    assert holds_value_head(tmp_path / "absent.bin") is False
    assert holds_value_head(tmp_path) is False


@pytest.mark.parametrize("form", FORMATS)
def test_a_language_model_passes_as_reward_model_with_a_value_head_only(tmp_path, form):
    write(tmp_path / "with", form, "v_head.weight")
    write(tmp_path / "without", form, "transformer.ln_f.weight")
    require_model_folder(str(tmp_path / "with"), "reward_model", kind="SequenceClassification")
    require_model_folder(str(tmp_path / "with"), "policy", kind="CausalLM")
    folder = str(tmp_path / "without")
    with pytest.raises(InputError) as refused:
        require_model_folder(folder, "reward_model", kind="SequenceClassification")
    assert str(refused.value) == (
        "reward_model: must be a model for SequenceClassification, received "
        f"{folder}, which is a GPT2LMHeadModel without a v_head; give a reward "
        "model, e.g. one of abcrl train-rm"
    )


def test_a_classifier_is_no_policy(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2ForSequenceClassification"]}')
    require_model_folder(str(tmp_path), "reward_model", kind="SequenceClassification")
    with pytest.raises(
        InputError, match=r"^policy: must be a model for CausalLM, .*; give another"
    ):
        require_model_folder(str(tmp_path), "policy", kind="CausalLM")


def test_looking_imports_no_torch():
    code = "import abcrl.config.weights, sys; print('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "False"
