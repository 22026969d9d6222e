"""Calls for the grid's tests. Workers import this module by name, so it stays light."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from abcrl.config.errors import InputError, RunFailedError
from abcrl.grid import Files, Task


def write(path: Path, text: str) -> None:
    path.write_text(text)


def raise_value_error() -> None:
    raise ValueError("first line\n  second line")


def raise_input_error() -> None:
    raise InputError("ppo.steps must be at least 1, received 0")


def leave(code: int | str) -> None:
    sys.exit(code)


def leave_at_once(code: int) -> None:
    os._exit(code)


def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def speak(text: str) -> None:
    print(text)  # noqa: T201
    print(f"{text} (error stream)", file=sys.stderr)  # noqa: T201


def report_surroundings(path: Path) -> None:
    interrupt_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    path.write_text(f"{Path.cwd()}\n{os.environ.get('GRID_TEST')}\n{interrupt_ignored}")


def list_modules(path: Path) -> None:
    path.write_text("\n".join(sys.modules))


def interval(path: Path, seconds: float) -> None:
    """Writes when it began and when it ended."""
    begun = time.monotonic()
    time.sleep(seconds)
    path.write_text(f"{begun} {time.monotonic()}")


def sleep_long(pid_file: Path, *, deaf: bool = False) -> None:
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    partial = pid_file.with_suffix(".partial")
    partial.write_text(str(os.getpid()))
    partial.rename(pid_file)
    time.sleep(60)


def sleep_long_and_deaf(pid_file: Path) -> None:
    sleep_long(pid_file, deaf=True)


def tidy_up(pid_file: Path, *, askings: int = 1) -> None:
    """Ends when it has been asked that often, as if a library had swallowed the others."""
    for asking in range(askings):
        try:
            sleep_long(pid_file)
        except KeyboardInterrupt:
            if asking == askings - 1:
                time.sleep(0.8)  # it is asked again meanwhile
                pid_file.with_suffix(".tidied").touch()
                raise


def tidy_up_at_second_asking(pid_file: Path) -> None:
    tidy_up(pid_file, askings=2)


class StoppedWhileItIsDescribedError(ValueError):
    def __str__(self) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "a reason"


def fail_and_be_stopped() -> None:
    raise StoppedWhileItIsDescribedError


def count_to(path: Path, number: int) -> None:
    path.write_text(f"{number}: {sum(range(number))}")


def start_a_child(path: Path) -> None:
    """As a data loader inside a task does."""
    child = multiprocessing.get_context("spawn").Process(target=write, args=(path, "child"))
    child.start()
    child.join()


def leave_a_child_behind(pid_file: Path) -> None:
    """As a task that is killed while its data loaders run."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    pid_file.write_text(str(pid))
    os.kill(os.getpid(), signal.SIGKILL)


def kill_its_parent(tries: Path) -> None:
    """As what a machine does that has no memory left; the parent is Ray's worker process."""
    with tries.open("a") as file:
        file.write("x")
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGKILL)
    time.sleep(60)


@dataclass(frozen=True)
class Stage:
    """Like a stage's configuration: it names the folders that it reads and writes."""

    output: Path
    model: Path
    rows: int
    seconds: float
    failing: bool


def stage(
    folder: Path, name: str, *, rows: int, seconds: float = 0.0, failing: bool = False
) -> Task:
    """A task that writes rows to a run folder, and goes on after those that are there."""
    config = Stage(folder / name, folder / "model", rows, seconds, failing)
    files = Files(
        config.output, (config.model,), ("status.json", "metrics.jsonl"), relocate, restate
    )
    return Task(name, write_rows, (config,), folder / f"{name}.txt", files)


def relocate(args: tuple[Stage], places: Mapping[Path, Path]) -> tuple[Stage]:
    [config] = args
    model, output = (places.get(path, path) for path in (config.model, config.output))
    return (replace(config, model=model, output=output),)


def restate(folder: Path, args: tuple[Stage]) -> None:
    if folder.is_dir():
        (folder / "config.yaml").write_text(f"{args[0].output}\n")


def write_rows(config: Stage) -> None:
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    weights = config.model / "weights"
    first = int(weights.read_text()) if weights.exists() else 0
    restate(output, (config,))
    (output / "place").write_text(str(output))
    (output / "status.json").write_text('{"state": "running"}\n')
    metrics = output / "metrics.jsonl"
    begun = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    for row in range(begun, config.rows):
        with metrics.open("a") as file:
            file.write(json.dumps({"row": first + row}) + "\n")
        try:
            time.sleep(config.seconds)
        except KeyboardInterrupt:
            (output / "stopped").write_text(str(row + 1))
            (output / "status.json").write_text('{"state": "interrupted"}\n')
            raise
    if config.failing:
        reason = f"{output}: cannot be written"
        (output / "status.json").write_text(json.dumps({"state": "failed", "reason": reason}))
        raise RunFailedError(reason)
    (output / "final").mkdir(exist_ok=True)
    (output / "final" / "weights").write_text(str(first))
    (output / "status.json").write_text('{"state": "finished"}\n')
