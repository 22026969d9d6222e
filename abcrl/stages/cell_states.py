"""Turns the cells' own files into what people see while a grid runs."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from abcrl.config import Cell
from abcrl.grid import GridProgress
from abcrl.reporter import CellState, GridReporter
from abcrl.storage import read_last_row, read_status


class _Begun(NamedTuple):
    """When and at which step a cell was first seen at work."""

    seconds: float
    step: int


class CellStates:
    """Where every cell of a comparison stands, by what its process has written so far."""

    def __init__(
        self, cells: Sequence[Cell], waiting: Sequence[Cell], reporter: GridReporter
    ) -> None:
        """Begins to report, in PPO steps of the cells that are about to run.

        Args:
            cells: All of the comparison.
            waiting: Those that are about to run.
            reporter: Receives progress.
        """
        self._cells = {cell.key: cell for cell in cells}
        self._reporter = reporter
        self._begun: dict[str, _Begun] = {}
        coming = {cell.key for cell in waiting}
        self._states = {
            cell.key: self._look(
                cell.key, "waiting" if cell.key in coming else read_status(cell.folder) or "failed"
            )
            for cell in cells
        }
        steps = sum(cell.run.steps for cell in waiting)
        reporter.start(f"PPO steps of {len(waiting)} cells", steps)

    def watch(self, progress: GridProgress) -> None:
        """Reads what has changed, and reports it."""
        for result in progress.results:
            if self._states[result.key].state in ("waiting", "running"):
                state = "finished" if result.succeeded else "failed"
                self._states[result.key] = self._look(result.key, state)
        for key in progress.running:
            self._states[key] = self._look(key, "running")
        done = sum(self._states[key].step for key in progress.running)
        done += sum(self._cells[result.key].run.steps for result in progress.results)
        failed = sum(not result.succeeded for result in progress.results)
        numbers = {"finished": len(progress.results) - failed, "running": len(progress.running)}
        self._reporter.advance(done, numbers | ({"failed": failed} if failed else {}))
        self._reporter.cells(list(self._states.values()))

    def _look(self, key: str, state: str) -> CellState:
        cell = self._cells[key]
        row = read_last_row(cell.folder, "metrics") or {}
        step = int(row.get("step", 0))
        return CellState(
            name=key,
            state=state,
            step=step,
            steps=cell.run.steps,
            score=row.get("objective/score", row.get("eval/score")),
            kl=row.get("objective/kl", row.get("eval/kl_exact")),
            seconds_left=self._seconds_left(key, step) if state == "running" else None,
        )

    def _seconds_left(self, key: str, step: int) -> float | None:
        """Returns what the steps that are left take at the pace since it was first seen."""
        now = time.monotonic()
        begun = self._begun.setdefault(key, _Begun(now, step))
        if step <= begun.step:
            return None
        pace = (now - begun.seconds) / (step - begun.step)
        return pace * (self._cells[key].run.steps - step)
