"""What a comparison reports of its cells while they run, read from the files that they write."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from abcrl.config import Cell, plan_cells
from abcrl.grid import GridProgress, TaskResult
from abcrl.reporter import CellState, SilentReporter
from abcrl.stages.cell_states import CellStates
from abcrl.stages.worker_log import WorkerLog, WorkerReporter
from tests.stages.comparisons import configure


class Watching(SilentReporter):
    def __init__(self) -> None:
        self.total = self.done = 0
        self.numbers: Mapping[str, float] = {}
        self.states: dict[str, CellState] = {}

    def start(self, what: str, total: int) -> None:  # noqa: ARG002
        self.total = total

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        self.done, self.numbers = done, numbers

    def cells(self, states: Sequence[CellState]) -> None:
        self.states = {one.name: one for one in states}


@pytest.fixture
def grid(tmp_path) -> list[Cell]:
    """Two arms with two seeds, of ten steps."""
    return plan_cells(configure(tmp_path / "compare", ppo__steps=10))


def write(cell: Cell, *rows: dict[str, float]) -> None:
    cell.folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (cell.folder / "metrics.jsonl").write_text(text + '{"step": 9, "half')


def result(cell: Cell, failure: str | None = None) -> TaskResult:
    return TaskResult(cell.key, failure, refused=False, seconds=1.0)


def test_cells_are_told_by_state_step_score_and_kl(grid):
    abc, rlhf, other, last = grid
    reporter = Watching()
    states = CellStates(grid, grid, reporter)
    assert reporter.total == 40
    write(abc, {"step": 10, "objective/score": 2.0, "objective/kl": 5.0})
    write(rlhf, {"step": 0, "eval/score": 0.5, "eval/kl_exact": 0.0})
    write(other, {"step": 3, "objective/score": 1.0, "objective/kl": 4.0})
    ended = (result(abc), result(other, "loss is nan"))
    states.watch(GridProgress((last.key,), (rlhf.key,), ended))
    assert reporter.done == 20  # of ended cells no step is left
    assert reporter.numbers == {"finished": 1, "running": 1, "failed": 1}
    shown = [reporter.states[cell.key] for cell in grid]
    assert [one.state for one in shown] == ["finished", "running", "failed", "waiting"]
    assert [(one.step, one.score, one.kl) for one in shown] == [
        (10, 2.0, 5.0),
        (0, 0.5, 0.0),
        (3, 1.0, 4.0),
        (0, None, None),
    ]


def test_cells_that_ended_before_are_shown_and_not_counted(grid):
    first, *waiting = grid
    write(first, {"step": 10, "objective/score": 2.0})
    (first.folder / "status.json").write_text('{"state": "failed", "reason": "loss is nan"}')
    reporter = Watching()
    states = CellStates(grid, waiting, reporter)
    states.watch(GridProgress(tuple(cell.key for cell in waiting), (), ()))
    assert (reporter.total, reporter.done) == (30, 0)
    assert reporter.states[first.key].state == "failed"


def test_time_left_follows_the_pace_since_a_cell_was_first_seen(grid, monkeypatch):
    clock = iter([100.0, 130.0])
    fake = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("abcrl.stages.cell_states.time", fake)
    reporter = Watching()
    states = CellStates(grid, grid, reporter)
    under_way = GridProgress((), (grid[0].key,), ())
    write(grid[0], {"step": 4})  # went on from a checkpoint
    states.watch(under_way)
    assert reporter.states[grid[0].key].seconds_left is None
    write(grid[0], {"step": 4}, {"step": 7})
    states.watch(under_way)
    assert reporter.states[grid[0].key].seconds_left == pytest.approx(30.0)  # 3 of 3 steps, 10 each


def test_a_worker_s_log_tells_its_messages_and_steps_apart_from_what_libraries_print(
    tmp_path: Path, monkeypatch
):
    path = tmp_path / "log.txt"
    path.write_text("abcrl: from an earlier call\nabcrl begins: training, 7 steps\n")
    log = WorkerLog(path)
    assert (log.messages(), log.total()) == ([], 0)
    with path.open("a") as file:
        monkeypatch.setattr("sys.stdout", file)
        reporter = WorkerReporter()
        reporter.start("training", 500)
        file.write("some library: 3 steps\n")
        reporter.message("2 rows left out")
    assert (log.messages(), log.total()) == (["2 rows left out"], 500)
    assert WorkerLog(tmp_path / "absent.txt").messages() == []
