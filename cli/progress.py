"""Draws a stage's progress: a rich bar on a terminal, now and then a plain line elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Seconds between plain lines when the output is no terminal.
_PLAIN_INTERVAL = 15.0


class ConsoleReporter:
    """A Reporter for people; a context manager, as the bar must be taken down."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._plain = not self.console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=self._plain,
        )
        self._task: TaskID | None = None
        self._what, self._total = "", 0
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self, what: str, total: int) -> None:
        """Opens a bar, or says in a line what begins."""
        self._what, self._total = what, total
        self._last_line = time.monotonic()
        if self._plain:
            self._line(f"{what}: {total} steps" if total > 1 else f"{what}: running")
        self._task = self._progress.add_task(what, total=total, numbers="")

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """Moves the bar, or prints a line when the last one is a while ago."""
        shown = "  ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        if self._task is not None:
            self._progress.update(self._task, completed=done, numbers=shown)
        now = time.monotonic()
        if self._plain and (now - self._last_line > _PLAIN_INTERVAL or done == self._total):
            self._line(f"{self._what}: {done}/{self._total}  {shown}".rstrip())
            self._last_line = now

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        self._line(text)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"
