"""Draws a stage's progress: a rich bar on a terminal, now and then a plain line elsewhere."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from abcrl.reporter import CellState

from .cells_table import cells_table

# Seconds between plain lines when the output is no terminal.
_PLAIN_INTERVAL = 15.0


# Lines that the table of cells leaves to its head, the bars and the prompt.
_OTHER_LINES = 10


class _Bars(Progress):
    """Bars, and above them the cells of a grid while there are any."""

    cells: Sequence[CellState] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.cells:
            yield cells_table(self.cells, self.console.height - _OTHER_LINES)
        yield from super().get_renderables()


class ConsoleReporter:
    """A Reporter for people; a context manager, as the bar must be taken down."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._plain = not self.console.is_terminal
        self._progress = _Bars(
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
        self._progress.cells = ()
        self._progress.stop()

    def start(self, what: str, total: int) -> None:
        """Opens a bar, or says in a line what begins; the same once more sets its total."""
        if what == self._what and self._task is not None:
            self._total = total
            self._progress.update(self._task, total=total)
            return
        self._what, self._total = what, total
        self._last_line = time.monotonic()
        if self._plain:
            self._line(f"{what}: {total} steps" if total else f"{what}: running")
        self._task = self._progress.add_task(what, total=total or None, numbers="")

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """Moves the bar, or prints a line when the last one is a while ago."""
        shown = "  ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        if self._task is not None:
            self._progress.update(self._task, completed=done, numbers=shown)
        now = time.monotonic()
        finished = self._total > 0 and done == self._total
        if self._plain and (finished or now - self._last_line > _PLAIN_INTERVAL):
            of = f"/{self._total}" if self._total else ""
            self._line(f"{self._what}: {done}{of}  {shown}".rstrip())
            self._last_line = now

    def cells(self, states: Sequence[CellState]) -> None:
        """Shows the cells of a grid on a terminal; elsewhere the plain lines have to do."""
        self._progress.cells = states

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        self._line(text)

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"
