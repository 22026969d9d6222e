"""PPO runs in processes of their own that end at a chosen place, and what they must agree in."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import safetensors.torch

from abcrl.config import PpoConfig, load_config, to_yaml
from abcrl.grid import Task, TaskResult, run_tasks
from abcrl.rl import rollout
from abcrl.rl.evaluation import evaluator as evaluation
from abcrl.stages import ppo as ppo_stage
from abcrl.stages.ppo import run_ppo
from abcrl.storage import RunFolder
from tests.stages.comparisons import Listening

# Five steps, evaluated after 2, 4 and 5, checkpoints after 2 and 4.
RESUMED: dict[str, Any] = {"steps": 5, "evaluation__interval": 2, "checkpoint__interval": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "swapped": {"mode": "swapped"},
    "adaptive KL": {"mode": "rlhf", "kl__target": 0.01, "kl__horizon": 5},
    "LoRA": {"networks__lora__rank": 2},
    "separate value": {"networks__value_model": "separate"},
    "running scale": {"score__scale": "running", "optimizer__schedule": "linear"},
}
COMPARED = ["metrics.jsonl", "samples.jsonl", "final/model.safetensors"]


def run_apart(config: PpoConfig, *ending: object) -> TaskResult:
    """Runs or resumes in a process of its own; `ending`: what ends it, see `_run`."""
    task = Task("run", _run, (to_yaml(config), *ending))
    [result] = run_tasks([task], jobs=1, preload=[__name__])
    return result


def go_on(config: PpoConfig, **options: Any) -> list[str]:
    """Resumes in this process, to the end; returns what is said."""
    reporter = Listening()
    run_ppo(config, reporter, resume=True, **options)
    return reporter.messages


def assert_same_end(folder: Path, other: Path) -> None:
    """The runs agree in every byte of their rows and weights."""
    values = [f"final/{path.name}" for path in (other / "final").glob("value*")]
    for name in [*COMPARED, *values]:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    leftovers = [path for path in folder.rglob(".*") if path.name != ".lock"]
    assert leftovers == []


def kill_yourself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_yourself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _run(yaml: str, place: str = "", number: int = 1, seconds: float = 0.0) -> None:
    """Runs, or goes on with what is there, until a place is reached for the n-th time.

    Args:
        yaml: The configuration.
        place: `<where>` is killed, `stop <where>` is sent SIGTERM.
        number: Which time.
        seconds: The process is killed after so long, wherever it is; 0: it is not.
    """
    config = _read(yaml)
    where = place.removeprefix("stop ")
    die = nth_time(number, stop_yourself if place.startswith("stop ") else kill_yourself)
    if where:
        PLACES[where](die)
    if seconds:
        timer = threading.Timer(seconds, kill_yourself)
        timer.daemon = True
        timer.start()
    run_ppo(config, Listening(), resume=Path(config.run.output).exists())


def _read(yaml: str) -> PpoConfig:
    file = Path(f"{os.getpid()}.yaml").absolute()
    try:
        file.write_text(yaml)
        return load_config(PpoConfig, file=file)
    finally:
        file.unlink()


def nth_time(number: int, end: Callable[[], None]) -> Callable[[], None]:
    times = iter(range(1, 10_000))

    def die() -> None:
        if next(times) == number:
            end()

    return die


def before(owner: Any, name: str, die: Callable[[], None]) -> None:
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        die()
        return original(*args, **kwargs)

    setattr(owner, name, dying)


def in_half_a_row(stream: str, die: Callable[[], None]) -> None:
    append = RunFolder.append

    def dying(self: RunFolder, name: str, rows: Any) -> None:
        rows = list(rows)
        file = self.path / f"{stream}.jsonl"
        size = file.stat().st_size if file.exists() else 0
        append(self, name, rows)
        if name == stream:
            whole = file.read_bytes()
            os.truncate(file, (size + len(whole)) // 2)
            die()
            file.write_bytes(whole)

    RunFolder.append = dying  # type: ignore[method-assign, assignment]


def _in_half_the_tensors(die: Callable[[], None]) -> None:
    save_file = safetensors.torch.save_file

    def dying(tensors: Any, file: Path) -> None:
        save_file(tensors, file)
        whole = file.read_bytes()
        os.truncate(file, len(whole) // 2)
        die()
        file.write_bytes(whole)

    safetensors.torch.save_file = dying  # type: ignore[assignment]


def around_the_rename(prefix: str, die: Callable[[], None], *, after: bool) -> None:
    rename = Path.rename

    def dying(self: Path, target: Path) -> Path:
        ours = target.name.startswith(prefix)
        if ours and not after:
            die()
        renamed = rename(self, target)
        if ours and after:
            die()
        return renamed

    Path.rename = dying  # type: ignore[method-assign, assignment]


def _in_a_removal(die: Callable[[], None]) -> None:
    rmtree = shutil.rmtree

    def dying(path: Path, **options: Any) -> None:
        files = list(path.glob("*")) if path.name.startswith(".step-") else []
        if files:
            files[0].unlink()
            die()
        rmtree(path, **options)

    shutil.rmtree = dying  # type: ignore[assignment]


PLACES: dict[str, Callable[[Callable[[], None]], None]] = {
    "rollout": lambda die: before(rollout, "gather_evidence", die),
    "update": lambda die: before(accelerate.Accelerator, "backward", die),
    "evaluation": lambda die: before(evaluation, "summarise_responses", die),
    "half a row of metrics": lambda die: in_half_a_row("metrics", die),
    "half a row of samples": lambda die: in_half_a_row("samples", die),
    "half the tensors": _in_half_the_tensors,
    "before the rename": lambda die: around_the_rename("step-", die, after=False),
    "between rename and cleanup": lambda die: around_the_rename("step-", die, after=True),
    "cleanup": _in_a_removal,
    "final": lambda die: before(ppo_stage, "save_policy", die),
    "after final": lambda die: around_the_rename("final", die, after=True),
}
