"""What a supervised run writes while transformers.Trainer trains: rows, progress, checkpoints."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from abcrl.config import RunFailedError, SftConfig, TrainRmConfig, to_yaml
from abcrl.models import computing
from abcrl.reporter import Reporter
from abcrl.storage import Checkpoint, RunFolder, write_checkpoint

from .early_stopping import EarlyStopping, load_trained

Evaluate = Callable[[PreTrainedModel], Mapping[str, float]]
"""From the model to held-out metrics, `eval/loss` among them."""

# What Trainer logs beside the loss that is the same whenever the same run is repeated.
_LOGGED = ("learning_rate", "grad_norm")


def require_finite(row: Mapping[str, float], step: int, *, steps: int = 1) -> None:
    """Ends a run whose numbers are none.

    Args:
        row: The numbers.
        step: The last step that they are of.
        steps: How many steps they are of.

    Raises:
        RunFailedError: Names the first number that is not finite.
    """
    when = f"in steps {step - steps + 1} to {step}" if steps > 1 else f"at step {step}"
    for name, value in row.items():
        if not math.isfinite(value):
            raise RunFailedError(f"{name} is {value} {when}; lower training.learning_rate")


class Recorder(TrainerCallback):
    """Decides when a step is logged, evaluated and saved, and writes it.

    Attributes:
        last_row: The row of the end, which is not in metrics.jsonl.
        done: Whether training is over.
        signals: Those that have reached the process and ask it to stop.
        saving: The step whose checkpoint is being written; None: none is.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: SftConfig | TrainRmConfig,
        folder: RunFolder,
        reporter: Reporter,
        evaluate: Evaluate | None,
    ) -> None:
        self._model = model
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._evaluate = evaluate
        self._best = EarlyStopping(config.evaluation.early_stopping)
        self._window = _Window(model.device)
        self._training = config.training
        self._numbers: dict[str, float] = {}
        self._row: dict[str, float] = {}
        self._evaluated: dict[str, float] = {}
        self._step = 0
        self._asked = False
        self.last_row: dict[str, float] = {}
        self.done = False
        self.signals: list[int] = []
        self.saving: int | None = None

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self._asked or bool(self.signals)

    def begin(self, drafts: Path, checkpoint: Checkpoint | None) -> None:
        """Begins, or goes on from a checkpoint; weights that are trained no more come back."""
        stored = {} if checkpoint is None else checkpoint.state
        source = None if checkpoint is None else checkpoint.folder
        self._best.begin(drafts, stored.get("best"), source)
        if checkpoint is None or source is None:
            return
        self._window.total += stored["window"]["total"]
        self._window.steps = stored["window"]["steps"]
        self._step = checkpoint.step
        self.done, self.last_row = stored["done"], dict(stored["row"])
        if self.done:
            load_trained(self._model, source / "model.safetensors")

    def add(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """Counts a micro-batch.

        Args:
            loss: Its part of the step's loss, `[]`.
            batch: What was read.
        """
        self._window.add(loss, batch)

    def take_best(self) -> None:
        """Puts the best model back, where it is not the last one."""
        if self._keeps_earlier:
            self._best.take_best(self._model)

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """Says how much there is to do."""
        self._reporter.start("training", state.max_steps)
        self._window.go_on()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """Evaluates where it is time to, and says what is to follow."""
        self._step = step = state.global_step
        is_last = step >= state.max_steps
        self._window.end_step()
        self._row = self._close_window(step) if step % self._training.log_interval == 0 else {}
        self._evaluated = self._evaluate_if_due(step, is_last=is_last)
        self.done = is_last or self._best.exhausted
        self.last_row = {"step": self._best.step or step if self._keeps_earlier else step}
        self._advance(step)
        on_time = step % self._config.checkpoint.interval == 0
        control.should_log = bool(self._row or self._evaluated)
        control.should_training_stop = self.done or self.stopping
        control.should_save = on_time or control.should_training_stop
        if control.should_save:
            self._require_finite_loss(step)
        self._window.go_on()

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """Writes the row of a step, unless the stage adds to it."""
        if not (self._row or self._evaluated):  # Trainer's summary of the whole run
            return
        step, row, logged = state.global_step, self._row, logs or {}
        if row:
            row |= {f"train/{name}": float(logged[name]) for name in _LOGGED if name in logged}
        row |= self._evaluated
        self._row, self._evaluated = {}, {}
        require_finite(row, step)
        if self.done and not self._keeps_earlier:
            self.last_row = {"step": step, **row}
        else:
            self._folder.append("metrics", [{"step": step, **row}])
        self._window.go_on()

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """Makes a checkpoint of the run of what Trainer has saved."""
        step = state.global_step
        source = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        self._best.copy_best(source)
        checkpoint = Checkpoint(
            step=step,
            config=to_yaml(self._config),
            state={
                "window": {"total": self._window.total.item(), "steps": self._window.steps},
                "best": self._best.state(),
                "done": self.done,
                "row": self.last_row,
            },
            streams=self._folder.stream_sizes(),
            digests=self._folder.stream_digests(),
            folder=source,
        )
        write_checkpoint(self._folder.path, checkpoint, keep_last=self._config.checkpoint.keep_last)
        self.saving = None
        self._window.go_on()

    def _close_window(self, step: int) -> dict[str, float]:
        """Returns the mean loss since the last row, and writes the row of timings."""
        loss = self._require_finite_loss(step)
        seconds, tokens = self._window.speed()
        row = {"step": step, "seconds": seconds, "tokens_per_second": tokens / seconds}
        self._folder.append("timings", [row])
        self._numbers = {"loss": loss, "tokens/s": round(tokens / seconds)}
        self._window.clear()
        return {"train/loss": loss}

    def _require_finite_loss(self, step: int) -> float:
        """Returns the mean loss since the last row.

        Which of the steps made it no number is not known: none is waited for.
        """
        loss = self._window.mean()
        require_finite({"train/loss": loss}, step, steps=self._window.steps)
        return loss

    def _evaluate_if_due(self, step: int, *, is_last: bool) -> dict[str, float]:
        """Returns held-out metrics; the stage measures at the end, but a best model is chosen."""
        interval = self._config.evaluation.interval
        if self._evaluate is None or interval is None:
            return {}
        due = self._best.active if is_last else step % interval == 0
        if not due:
            return {}
        with computing(self._model.device, self._config.networks.precision):
            metrics = dict(self._evaluate(self._model))
        require_finite(metrics, step)
        self._best.judge(self._model, step, metrics["eval/loss"])
        if self._best.active and (self._best.exhausted or is_last):
            self._reporter.message(self._best.describe(step))
        return metrics

    @property
    def _keeps_earlier(self) -> bool:
        """Whether training is over and an earlier model is kept."""
        return self.done and self._best.step not in (None, self._step)

    def _advance(self, step: int) -> None:
        try:
            self._reporter.advance(step, self._numbers)
        except KeyboardInterrupt:  # the step is done: there is something to save
            self._asked = True


class _Window:
    """The steps since the last row.

    Attributes:
        total: Sum of the steps' losses, in float32 on the model's device: nothing waits for it.
        steps: How many they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), device=device)
        self.steps = 0
        self._tokens = torch.zeros((), dtype=torch.long, device=device)
        self._seconds = 0.0
        self._since = time.perf_counter()

    def add(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """Adds a micro-batch: its part of the step's loss, and what was read."""
        self.total += loss
        mask = batch.get("attention_mask")
        if mask is None:  # rows that are filled
            self._tokens += batch["input_ids"].numel()
        else:
            self._tokens += mask.sum()

    def end_step(self) -> None:
        """Counts a step, and stops the clock."""
        self.steps += 1
        self._seconds += time.perf_counter() - self._since

    def go_on(self) -> None:
        """Starts the clock; evaluations and checkpoints are no training."""
        self._since = time.perf_counter()

    def mean(self) -> float:
        """Returns the mean loss of a step; 0 for none."""
        return self.total.item() / max(self.steps, 1)

    def speed(self) -> tuple[float, int]:
        """Returns the seconds and the tokens read in them, of the steps of this process."""
        return self._seconds, int(self._tokens)

    def clear(self) -> None:
        """Begins the next window."""
        self.total.zero_()
        self._tokens.zero_()
        self.steps, self._seconds = 0, 0.0
