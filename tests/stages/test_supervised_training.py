"""The engine of sft and train-rm: losses in parts, evaluation, early stopping, networks."""

import importlib.util
import json
import math
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

from abcrl.config import InputError, RunFailedError
from abcrl.models import load_tokenizer, new_classifier
from abcrl.stages import sft as sft_stage
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.stages.trainer import LossSum, classifier_loss
from abcrl.storage import newest_checkpoint, read_reason, read_rows, read_status
from tests.stages.comparisons import Listening

LORA = {"networks__lora": {"rank": 4, "alpha": 16.0}}


def weights(folder: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(folder / "final" / "model.safetensors")
    return loaded


def losses(folder: Path, name: str = "train/loss") -> list[float]:
    return [row[name] for row in read_rows(folder, "metrics") if name in row]


@pytest.mark.parametrize("stage", ["sft", "train-rm"])
def test_micro_batches_are_the_whole_batch_to_rounding(tiny_runs, tmp_path, stage):
    make: Any = tiny_runs.sft if stage == "sft" else tiny_runs.train_rm
    run: Any = run_sft if stage == "sft" else run_train_rm
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # Texts of 20 to 80 tokens: the mean of the parts' means would be another number.
    options = {"training__learning_rate": 1e-4, "training__log_interval": 1}
    run(make(whole, **options), Listening())
    run(make(parts, training__micro_batch_size=2, **options), Listening())
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-4)
    assert losses(parts, "train/grad_norm") == pytest.approx(
        losses(whole, "train/grad_norm"), rel=1e-3
    )
    assert weights(parts).keys() == weights(whole).keys()
    for name, weight in weights(whole).items():
        # Adam divides by gradients that may be rounding alone: one step of the learning rate.
        assert_close(weights(parts)[name], weight, atol=2e-4, rtol=0)


def test_a_loss_in_parts_is_divided_by_what_all_parts_count(tiny_runs, tmp_path, monkeypatch):
    """Four texts a step in parts of one: sum of 1 * p, ..., over counts 1, 2, 3, 4."""
    seen: list[float] = []
    model = AutoModelForCausalLM.from_pretrained(tiny_runs.policy)

    def loss(model: PreTrainedModel, batch: Any) -> LossSum:
        number = len(seen) + 1
        weight = model.get_parameter("transformer.ln_f.bias")
        seen.append(float(number))
        return LossSum(weight.sum() * 0 + weight[0] * number + number, torch.tensor(number))

    from abcrl.stages import trainer

    def train(*arguments: Any, **options: Any) -> dict[str, float]:
        return trainer.train(*arguments, **{**options, "compute_loss": loss})

    monkeypatch.setattr(sft_stage, "train", train)
    config = tiny_runs.sft(
        tmp_path / "run",
        training__batch_size=4,
        training__micro_batch_size=1,
        training__max_steps=1,
        training__log_interval=1,
        model={"base": str(tiny_runs.policy)},
    )
    run_sft(config, Listening())
    [row] = read_rows(tmp_path / "run", "metrics")
    first = model.get_parameter("transformer.ln_f.bias")[0].item()
    # Totals n (1 + w), counts n: the mean is 1 + w, the gradient of w is 1.
    assert seen == [1.0, 2.0, 3.0, 4.0]
    assert row["train/loss"] == pytest.approx(1 + first, abs=1e-6)
    assert row["train/grad_norm"] == pytest.approx(1.0)


def test_the_classifier_s_loss_is_the_model_s_own(tiny_classifier):
    model = tiny_classifier()
    batch = {
        "input_ids": torch.tensor([[5, 6, 7], [8, 9, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([1, 0]),
    }
    with torch.no_grad():
        loss = classifier_loss(model, batch)
        assert_close(loss.total / loss.count, model(**batch).loss, atol=0, rtol=0)


def test_evaluations_are_in_the_rows_of_their_steps_and_change_no_training(tiny_runs, tmp_path):
    config = tiny_runs.sft(tmp_path / "run", training__eval_interval=4)
    run_sft(config, Listening())
    rows = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in rows] == [4, 5, 8, 10, 12, 15]
    evaluated = [row["step"] for row in rows if "eval/loss" in row]
    assert evaluated == [4, 8, 12, 15]
    for row in rows:
        if "eval/loss" in row:
            assert row["eval/perplexity"] == pytest.approx(math.exp(row["eval/loss"]))
    without = read_rows(tiny_runs.root / "sft", "metrics")
    assert [row for row in rows if "train/loss" in row] == without
    name = "final/model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tiny_runs.root / "sft" / name).read_bytes()


def test_train_rm_evaluates_its_held_out_loss(tiny_runs, tmp_path):
    run_train_rm(tiny_runs.train_rm(tmp_path / "run", training__eval_interval=10), Listening())
    rows = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in rows if "eval/loss" in row] == [10, 15]


def test_stopping_early_keeps_the_best_model_and_says_so(tiny_runs, tmp_path, monkeypatch):
    """Held-out losses 3, 2, 2, 4 with patience 2: stops at the fourth, keeps the second."""
    measured = iter([3.0, 2.0, 2.0, 4.0, 9.0])
    kept: dict[int, dict[str, Tensor]] = {}

    def measure(model: PreTrainedModel, *arguments: Any, **options: Any) -> float:
        kept[len(kept)] = {name: value.clone() for name, value in model.named_parameters()}
        return next(measured)

    monkeypatch.setattr(sft_stage, "heldout_loss", measure)
    reporter = Listening()
    config = tiny_runs.sft(tmp_path / "run", training__eval_interval=3, training__early_stopping=2)
    result = run_sft(config, reporter)
    assert reporter.messages == [
        "stopped at step 12: in 2 evaluations eval/loss has not fallen below that of step 6; keeps "
        "the model of step 6 (eval/loss 2)"
    ]
    final = weights(tmp_path / "run")
    for name, value in kept[1].items():
        if name in final:
            assert torch.equal(final[name], value), name
    assert any(not torch.equal(kept[1][name], kept[3][name]) for name in kept[1])
    rows = read_rows(tmp_path / "run", "metrics")
    assert [(row["step"], row.get("eval/loss")) for row in rows] == [
        (3, 3.0),
        (5, None),
        (6, 2.0),
        (9, 2.0),
        (10, None),
        (12, 4.0),
        (6, 9.0),  # measured of the model that is kept
    ]
    assert (result.steps, result.heldout_loss) == (6, 9.0)


def test_without_a_better_one_later_the_last_model_is_kept(tiny_runs, tmp_path):
    reporter = Listening()
    config = tiny_runs.sft(tmp_path / "run", training__eval_interval=4, training__early_stopping=3)
    run_sft(config, reporter)
    [said] = reporter.messages
    assert said.startswith("keeps the model of step 15 (eval/loss ")
    final, other = (folder / "final/model.safetensors" for folder in
                    (tmp_path / "run", tiny_runs.root / "sft"))  # fmt: skip
    assert final.read_bytes() == other.read_bytes()


def test_timings_have_seconds_and_speed_of_each_row(tiny_runs):
    for name in ("sft", "reward-model"):
        for row in read_rows(tiny_runs.root / name, "timings"):
            assert row.keys() == {"step", "seconds", "tokens_per_second"}
            # 5 steps of 8 texts of at most 80 tokens.
            assert 5 * 8 < row["seconds"] * row["tokens_per_second"] <= 5 * 8 * 80


def test_ruined_weights_get_no_checkpoint(tiny_runs, tmp_path, monkeypatch):
    step = torch.optim.AdamW.step
    steps = iter(range(1, 100))

    def spoiled(self: Any, *arguments: Any, **options: Any) -> Any:
        done = step(self, *arguments, **options)
        if next(steps) == 7:
            self.param_groups[0]["params"][0].data.view(-1)[-1] = float("inf")
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", spoiled)
    folder = tmp_path / "run"
    changes = {"checkpoint__interval": 3, "training__log_interval": 100}
    with pytest.raises(RunFailedError, match=r"not finite|is nan") as caught:
        run_sft(tiny_runs.sft(folder, **changes), Listening())
    newest = folder / "checkpoints" / "step-000006"
    assert newest_checkpoint(folder) == newest
    assert str(caught.value).endswith(f"; its last checkpoint is {newest}")
    assert read_reason(folder) == str(caught.value)
    assert read_status(folder) == "failed"


def test_a_disk_that_takes_no_checkpoint_fails_the_run(tiny_runs, tmp_path, monkeypatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", refuse)
    folder = tmp_path / "run"
    with pytest.raises(RunFailedError) as caught:
        run_sft(tiny_runs.sft(folder, checkpoint__interval=3), Listening())
    assert str(caught.value) == (
        f"checkpoint {folder / 'checkpoints' / 'step-000003'} cannot be written: No space left on "
        f"device"
    )
    assert read_status(folder) == "failed"
    assert list(folder.rglob("*.tmp")) == []


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
    options = {"networks__precision": "bf16", "training__eval_interval": 10}
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
        "install it (pip install 'abcrl[qlora]'), or leave networks.quantization out"
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
