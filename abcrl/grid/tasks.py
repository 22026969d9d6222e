"""What a grid is made of: tasks that go in, results that come out, progress in between."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Files:
    """What a task reads and writes, for an engine whose tasks run on other machines.

    There, all of it lies elsewhere. The functions are module-level ones, sent by name.
    """

    writes: Path
    """The run folder; what it holds when the task begins, the task goes on from."""
    reads: tuple[Path, ...]
    """Files and folders; those that are not there are left out."""
    follow: tuple[str, ...]
    """Files of the run folder that are kept up to date here while the task runs."""
    relocate: Callable[[tuple[Any, ...], Mapping[Path, Path]], tuple[Any, ...]]
    """Arguments, and the other place of some paths: arguments for there."""
    restate: Callable[[Path, tuple[Any, ...]], None]
    """Has a run folder, which may be absent, tell of the paths in some arguments."""


@dataclass(frozen=True)
class Task:
    """One call that gets a process of its own. What it produces, it writes to files."""

    key: str
    """Names the task in results and progress; unique within a grid."""
    function: Callable[..., object]
    """A module-level callable: it is sent by name. Its return value is dropped."""
    args: tuple[Any, ...] = ()
    """Positional arguments; must be picklable."""
    log: Path | None = None
    """File that the worker's stdout and stderr are appended to; None: the caller's terminal."""
    files: Files | None = None
    """Must be told to an engine whose tasks run on other machines, unless there are none."""


@dataclass(frozen=True)
class TaskResult:
    """How one task ended."""

    key: str
    failure: str | None
    """None when the function returned, else one line that says why it did not."""
    refused: bool
    """Whether it failed by refusing its input, an InputError."""
    seconds: float
    """Wall-clock time from start to end; the one field that differs between equal grids."""

    @property
    def succeeded(self) -> bool:
        """True when the function returned."""
        return self.failure is None


@dataclass(frozen=True)
class GridProgress:
    """Where a grid stands. Every task is in exactly one of the three."""

    waiting: tuple[str, ...]
    """Keys not started yet, in the order in which they will be."""
    running: tuple[str, ...]
    """Keys under way, in the order of their start."""
    results: tuple[TaskResult, ...]
    """Ended tasks, in the order of their end."""


def require_sound(tasks: Sequence[Task], jobs: int) -> None:
    """Refuses what no engine can run.

    Raises:
        ValueError: jobs below 1, or a repeated key.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, received {jobs}")
    repeated = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    if repeated:
        raise ValueError(f"tasks must have different keys, received {repeated[0]!r} twice")
