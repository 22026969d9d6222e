"""sft and train-rm in processes of their own that end at a chosen place; see `resuming`."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from abcrl.config import SftConfig, TrainRmConfig, load_config, to_yaml
from abcrl.grid import Task, TaskResult, run_tasks
from abcrl.stages import sft, train_rm
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.supervised import recorder, trainer
from tests.conftest import TinyRuns
from tests.stages.comparisons import Listening
from tests.stages.resuming import (
    around_the_rename,
    before,
    in_half_a_row,
    kill_yourself,
    nth_time,
    stop_yourself,
)

Config = SftConfig | TrainRmConfig

# 7 steps an epoch; logged after 4, 8 and 12, checkpoints after 5, 10 and 15: amid a window.
RESUMED: dict[str, Any] = {
    "data__limit": 64,
    "data__validation_fraction": 0.2,
    "training__epochs": 3.0,
    "training__log_interval": 4,
    "checkpoint__interval": 5,
}
_LORA = {"networks__lora": {"rank": 2}, "networks__keep_adapter": True}
_STOPPING = {
    "evaluation__interval": 2,
    "evaluation__early_stopping": 2,
    "training__learning_rate": 0.5,
}


def configure(runs: TinyRuns, name: str, output: Path, **changes: Any) -> Config:
    """The configuration of a variant: `sft ...` or `train-rm ...`."""
    base = {"model": {"base": str(runs.policy)}}
    variants: dict[str, dict[str, Any]] = {
        "sft": {"model__dropout": 0.1},
        "sft, micro-batches": {"model__dropout": 0.1, "training__micro_batch_size": 2},
        "sft, LoRA": {**base, **_LORA},
        "sft, early stopping": _STOPPING,
        "train-rm": {},
        "train-rm, LoRA": {**_LORA, "training__micro_batch_size": 4},
        "train-rm, early stopping": {**_LORA, **_STOPPING},
    }
    make: Any = runs.sft if name.startswith("sft") else runs.train_rm
    config: Config = make(output, **{**RESUMED, **variants[name], **changes})
    return config


NAMES = [
    "sft",
    "sft, micro-batches",
    "sft, LoRA",
    "sft, early stopping",
    "train-rm",
    "train-rm, LoRA",
    "train-rm, early stopping",
]


def run(config: Config, reporter: Any = None, **options: Any) -> Any:
    """Runs in this process; returns the result."""
    reporter = Listening() if reporter is None else reporter
    if isinstance(config, SftConfig):
        return run_sft(config, reporter, **options)
    return run_train_rm(config, reporter, **options)


def go_on(config: Config, **options: Any) -> list[str]:
    """Resumes in this process, to the end; returns what is said of that."""
    reporter = Listening()
    run(config, reporter, resume=True, **options)
    return [line for line in reporter.messages if "model of step" not in line]


def run_apart(config: Config, *ending: object) -> TaskResult:
    """Runs or resumes in a process of its own; `ending`: what ends it, see `resuming._run`."""
    kind = "sft" if isinstance(config, SftConfig) else "train-rm"
    task = Task("run", _run, (kind, to_yaml(config), *ending))
    [result] = run_tasks([task], jobs=1, preload=[__name__])
    return result


def assert_same_end(folder: Path, other: Path) -> None:
    """The runs agree in every byte of their rows and weights."""
    saved = (path for name in ("final", "adapter") for path in (other / name).glob("*"))
    weights = [str(path.relative_to(other)) for path in saved if path.suffix == ".safetensors"]
    assert weights
    for name in ["metrics.jsonl", *weights]:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    leftovers = [path for path in folder.rglob(".*") if path.name != ".lock"]
    assert leftovers == []


def _run(kind: str, yaml: str, place: str = "", number: int = 1, seconds: float = 0.0) -> None:
    """See `resuming._run`."""
    root: Any = SftConfig if kind == "sft" else TrainRmConfig
    file = Path(f"{os.getpid()}.yaml").absolute()
    file.write_text(yaml)
    config = load_config(root, file=file)
    file.unlink()
    where = place.removeprefix("stop ")
    die = nth_time(number, stop_yourself if place.startswith("stop ") else kill_yourself)
    if where:
        PLACES[where](die)
    if seconds:
        timer = threading.Timer(seconds, kill_yourself)
        timer.daemon = True
        timer.start()
    run(config, resume=Path(config.run.output).exists())


def _in_half_the_optimizer(die: Callable[[], None]) -> None:
    save = torch.save

    def dying(content: Any, file: Any, **options: Any) -> None:
        save(content, file, **options)
        if str(file).endswith("optimizer.pt"):
            os.truncate(file, Path(file).stat().st_size // 2)
            die()
            save(content, file, **options)

    torch.save = dying  # type: ignore[assignment]


def _before_final(die: Callable[[], None]) -> None:
    before(sft, "save_final", die)
    before(train_rm, "save_final", die)


PLACES: dict[str, Callable[[Callable[[], None]], None]] = {
    "step": lambda die: before(Trainer, "_clip_grad_norm", die),
    "evaluation": lambda die: before(recorder.Recorder, "_evaluate_if_due", die),
    "half a row of metrics": lambda die: in_half_a_row("metrics", die),
    "half a row of timings": lambda die: in_half_a_row("timings", die),
    "weights": lambda die: before(trainer, "save_trained", die),
    "half the optimizer": _in_half_the_optimizer,
    "before the rename": lambda die: around_the_rename("step-", die, after=False),
    "between rename and cleanup": lambda die: around_the_rename("step-", die, after=True),
    "before final": _before_final,
    "after final": lambda die: around_the_rename("final", die, after=True),
}
