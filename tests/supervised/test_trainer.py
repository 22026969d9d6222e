"""The engine of sft and train-rm: losses in parts, evaluation, early stopping."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
)

from abcrl.config import RunFailedError
from abcrl.models import RewardModel, encode_plain, load_tokenizer, new_classifier
from abcrl.stages import sft as sft_stage
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import newest_checkpoint, read_reason, read_rows, read_status
from abcrl.supervised.texts import pad_right
from abcrl.supervised.trainer import LossSum, classifier_loss
from tests.models.text.tokenizer_families import unigram
from tests.stages.comparisons import Listening


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


@pytest.mark.parametrize("stage", ["sft", "train-rm"])
def test_a_trained_model_generates_with_its_cache_as_before(tiny_runs, tmp_path, stage):
    make: Any = tiny_runs.sft if stage == "sft" else tiny_runs.train_rm
    run: Any = run_sft if stage == "sft" else run_train_rm
    run(make(tmp_path / "run"), Listening())
    assert AutoConfig.from_pretrained(tmp_path / "run" / "final").use_cache is True


def test_a_loss_in_parts_is_divided_by_what_all_parts_count(tiny_runs, tmp_path, monkeypatch):
    """Four texts a step in parts of one: sum of 1 * p, ..., over counts 1, 2, 3, 4."""
    seen: list[float] = []
    model = AutoModelForCausalLM.from_pretrained(tiny_runs.policy)

    def loss(model: PreTrainedModel, batch: Any) -> LossSum:
        number = len(seen) + 1
        weight = model.get_parameter("transformer.ln_f.bias")
        seen.append(float(number))
        return LossSum(weight.sum() * 0 + weight[0] * number + number, torch.tensor(number))

    from abcrl.supervised import trainer

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


def test_the_classifier_is_trained_where_its_score_is_read_whatever_the_pad_id(tmp_path):
    """A pad token that is <unk> stands in texts too, and last where they are cut."""
    tokenizer = unigram()
    tokenizer.pad_token = tokenizer.unk_token
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = new_classifier(str(tmp_path), load_tokenizer(str(tmp_path), "model"), "model", seed=1)
    assert model.config.pad_token_id == tokenizer.unk_token_id
    rows = [encode_plain(tokenizer, text) for text in ("the acting was ЖЖЖ", "the plot was good.")]
    assert rows[0][-1] == tokenizer.pad_token_id
    batch = pad_right(
        [{"input_ids": ids, "label": 1} for ids in rows], pad_token_id=tokenizer.pad_token_id
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    scores = RewardModel(model).score(ids, mask.bool()).scores
    with torch.no_grad():
        loss = classifier_loss(model, batch)
        other = model(**batch).loss * 2
    assert_close(loss.total, functional.softplus(-scores).sum(), atol=1e-6, rtol=0)
    assert abs(loss.total - other) > 1e-3


def test_evaluations_are_in_the_rows_of_their_steps_and_change_no_training(tiny_runs, tmp_path):
    config = tiny_runs.sft(tmp_path / "run", evaluation__interval=4)
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
    run_train_rm(tiny_runs.train_rm(tmp_path / "run", evaluation__interval=10), Listening())
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
    config = tiny_runs.sft(tmp_path / "run", evaluation__interval=3, evaluation__early_stopping=2)
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
    config = tiny_runs.sft(tmp_path / "run", evaluation__interval=4, evaluation__early_stopping=3)
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
            assert 5 * 8 < round(row["seconds"] * row["tokens_per_second"]) <= 5 * 8 * 80


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
