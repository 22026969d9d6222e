"""What sft and train-rm share: texts as token ids, transformers.Trainer, a run folder."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from abcrl.config import InputError, RunFailedError, TrainingConfig, stream_seed
from abcrl.config.run import RunConfig
from abcrl.data import Example
from abcrl.data.encoded import encode_texts
from abcrl.models import bos_prefix, encode_batch, tokenizer_identity
from abcrl.reporter import Reporter
from abcrl.storage import RunFolder

Features = dict[str, Any]

# What Trainer logs that is the same whenever the same run is repeated.
_LOGGED = ("loss", "learning_rate", "grad_norm")
# Our name for a schedule, and Trainer's for the same with a warm-up.
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


class ReadableTexts(Sequence[list[int]]):
    """What a model reads of each text: BOS where the tokenizer puts one, the text, EOS.

    A text of more than `max_length` tokens is cut, and then has no EOS: it did not end.
    """

    def __init__(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        self._plain = encode_texts(
            [example.text for example in examples],
            partial(encode_batch, tokenizer),
            identity=tokenizer_identity(tokenizer),
        )
        self._prefix = bos_prefix(tokenizer)
        self._eos = tokenizer.eos_token_id
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - an int; a Sequence also slices
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return [*self._prefix, *self._plain[index], self._eos][: self._max_length]


class TextDataset(Dataset[Features]):
    """Features of each text, made when they are asked for."""

    def __init__(
        self, texts: Sequence[list[int]], make: Callable[[int, list[int]], Features]
    ) -> None:
        """Takes texts and the function from position and ids of a text to its features."""
        self._texts = texts
        self._make = make

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Features:
        return self._make(index, self._texts[index])


def pad_right(rows: Sequence[Features], *, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Returns a right-padded batch: input_ids, attention_mask, and labels where rows have one."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [pad_token_id] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    if "label" in rows[0]:
        batch["labels"] = torch.tensor([row["label"] for row in rows])
    return batch


def require_context(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Refuses texts that are longer than the model can read.

    Raises:
        InputError: training.max_length exceeds the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and config.max_length > context:
        raise InputError(
            f"training.max_length: must fit the model's context of {context} tokens, received "
            f"{config.max_length}; lower it"
        )


def require_finite(row: Mapping[str, float], step: int) -> None:
    """Ends a run whose numbers are none.

    Raises:
        RunFailedError: Names the first number that is not finite.
    """
    for name, value in row.items():
        if not math.isfinite(value):
            raise RunFailedError(f"{name} is {value} at step {step}; lower training.learning_rate")


def train(  # noqa: PLR0913 - what a training run consists of
    model: PreTrainedModel,
    dataset: TextDataset,
    collate: Any,  # noqa: ANN401 - transformers' own type for a collator is Any
    config: TrainingConfig,
    run: RunConfig,
    *,
    folder: RunFolder,
    reporter: Reporter,
) -> dict[str, float]:
    """Trains the model in place.

    Returns:
        The row of the last step, which is not in metrics.jsonl yet: the stage adds what it measures
        when training is over, so that each step has one row.

    Raises:
        RunFailedError: The loss became non-finite.
    """
    arguments = TrainingArguments(
        output_dir=str(folder.path),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_SCHEDULES[config.schedule],
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        logging_steps=config.log_interval,
        logging_nan_inf_filter=False,  # it would show the last finite loss in place of NaN
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=model.device.type == "cuda",
        remove_unused_columns=False,
        # Trainer seeds the global generators; the run's seed reaches them through a stream.
        seed=stream_seed(run.seed, "trainer") % 2**31,
    )
    arguments._n_gpu = 1  # or Trainer would spread each batch over every GPU it sees
    recorder = _Recorder(folder, reporter)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collate,
        callbacks=[recorder],
    )
    trainer.remove_callback(PrinterCallback)
    outcome = trainer.train()
    require_finite({"train/loss": outcome.training_loss}, outcome.global_step)
    return {"step": outcome.global_step, **recorder.last_row}


def save_final(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: RunFolder
) -> Path:
    """Saves model and tokenizer to `final/`, loadable with from_pretrained."""
    final = folder.path / "final"
    model.save_pretrained(final)
    tokenizer.save_pretrained(final)
    return final


class _Recorder(TrainerCallback):
    """Writes metrics.jsonl and timings.jsonl, and reports progress."""

    def __init__(self, folder: RunFolder, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter
        self.last_row: dict[str, float] = {}
        self._numbers: Mapping[str, float] = {}
        self._started = time.perf_counter()

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        self._reporter.start("training", state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        logs = logs or {}
        row = {f"train/{name}": float(logs[name]) for name in _LOGGED if name in logs}
        if "train/loss" not in row:
            return
        require_finite(row, state.global_step)
        seconds = time.perf_counter() - self._started
        self._numbers = {"loss": row["train/loss"]}
        if state.global_step == state.max_steps:
            self.last_row = row
        else:
            self._folder.append("metrics", [{"step": state.global_step, **row}])
        self._folder.append("timings", [{"step": state.global_step, "seconds": seconds}])

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        self._reporter.advance(state.global_step, self._numbers)
