"""What a grid is made of: tasks that go in, results that come out, progress in between."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
