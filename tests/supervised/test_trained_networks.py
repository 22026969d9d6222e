"""sft and train-rm with adapters, recomputed activations, bf16 and 4 bits."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from abcrl.config import InputError
from abcrl.models import load_tokenizer, new_classifier
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from tests.stages.comparisons import Listening

LORA = {"networks__lora": {"rank": 4, "alpha": 16.0}}


def weights(folder: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(folder / "final" / "model.safetensors")
    return loaded


def losses(folder: Path) -> list[float]:
    return [row["train/loss"] for row in read_rows(folder, "metrics") if "train/loss" in row]


# PEFT asks transformers by an older name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("head", ["classifier", "language model"])
def test_adapters_merge_into_final_and_load_in_peft(tiny_runs, tmp_path, head):
    folder = tmp_path / "run"
    options: dict[str, Any] = {**LORA, "networks__keep_adapter": True}
    base: PreTrainedModel
    if head == "classifier":
        run_train_rm(tiny_runs.train_rm(folder, **options), Listening())
        kind: Any = AutoModelForSequenceClassification
        tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
        base = new_classifier(str(tiny_runs.policy), tokenizer, "model", seed=99)  # another head
    else:
        run_sft(
            tiny_runs.sft(folder, model={"base": str(tiny_runs.policy)}, **options), Listening()
        )
        kind = AutoModelForCausalLM
        base = kind.from_pretrained(tiny_runs.policy)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    final = kind.from_pretrained(folder / "final").eval()
    adapted: Any = peft.PeftModel.from_pretrained(base, str(folder / "adapter")).eval()
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        assert_close(adapted(input_ids=ids).logits, final(input_ids=ids).logits, atol=1e-4, rtol=0)
    moved = {name for name, value in final.state_dict().items()
             if not torch.equal(value, before[name])}  # fmt: skip
    layers = ("c_attn.weight", "c_proj.weight", "c_fc.weight", "score.weight")
    assert moved == {name for name in before if name.endswith(layers)}
    stored = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == str(tiny_runs.policy)
    assert (stored["r"], stored["lora_alpha"]) == (4, 16.0)


def test_adapters_are_left_out_unless_they_are_kept(tiny_runs, tmp_path):
    run_train_rm(tiny_runs.train_rm(tmp_path / "run", **LORA), Listening())
    assert not (tmp_path / "run" / "adapter").exists()


def test_gradients_through_activations_computed_again_are_the_same(tiny_runs, tmp_path):
    folder = tmp_path / "run"
    run_sft(tiny_runs.sft(folder, networks__gradient_checkpointing=True), Listening())
    for name, value in weights(tiny_runs.root / "sft").items():
        assert_close(weights(folder)[name], value, atol=1e-3, rtol=0)


def test_bf16_computes_and_keeps_float32_weights(tiny_runs, tmp_path, monkeypatch):
    # Autocast exists on a CPU too; only its use there is refused.
    monkeypatch.setattr("abcrl.models.adaptation.require_bf16", lambda *_: None)
    folder = tmp_path / "run"
    options = {"networks__precision": "bf16", "evaluation__interval": 10}
    run_sft(tiny_runs.sft(folder, **options), Listening())
    assert {weight.dtype for weight in weights(folder).values()} == {torch.float32}
    exact = losses(tiny_runs.root / "sft")
    assert losses(folder) != exact
    assert losses(folder) == pytest.approx(exact, rel=2e-2)
    run_train_rm(tiny_runs.train_rm(tmp_path / "rm", **options), Listening())
    assert losses(tmp_path / "rm") != losses(tiny_runs.root / "reward-model")


def test_bf16_is_refused_where_the_device_has_none(tiny_runs, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=r"networks\.precision: must be float32 on this device"):
        run_sft(tiny_runs.sft(tmp_path / "run", networks__precision="bf16"), Listening())
    assert not (tmp_path / "run").exists()


def test_4_bits_without_bitsandbytes_are_refused_before_data_are_read(
    tiny_runs, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "abcrl.models.quantization.find_spec",
        lambda name: None if name == "bitsandbytes" else find(name),
    )
    config = tiny_runs.train_rm(
        tmp_path / "run",
        networks__quantization="nf4",
        data__source=str(tmp_path / "nowhere.jsonl"),
        **LORA,
    )
    with pytest.raises(InputError) as caught:
        run_train_rm(config, Listening())
    assert str(caught.value) == (
        "networks.quantization: must be none without the package bitsandbytes, received nf4; "
        'install it (pip install -e ".[qlora]"), or leave networks.quantization out'
    )


def test_4_bits_without_a_cuda_gpu_are_refused(tiny_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("abcrl.models.quantization.find_spec", lambda _: object())
    config = tiny_runs.train_rm(
        tmp_path / "run", networks__quantization="nf4", run__device="cpu", **LORA
    )
    with pytest.raises(InputError) as caught:
        run_train_rm(config, Listening())
    assert str(caught.value) == (
        "networks.quantization: must be none on this device (cpu), received nf4; run on a CUDA "
        "GPU, or leave networks.quantization out"
    )
