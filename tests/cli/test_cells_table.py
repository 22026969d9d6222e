"""The table of cells that a terminal shows while a comparison runs."""

import io

import pytest
from abcrl_cli.cells_table import cells_table
from abcrl_cli.progress import ConsoleReporter
from rich.console import Console

from abcrl.reporter import CellState


def cell(name: str, state: str = "waiting", step: int = 0, **numbers: float) -> CellState:
    empty = {"score": None, "kl": None, "seconds_left": None}
    return CellState(name, state, step, 20, **{**empty, **numbers})


def lines(states: list[CellState], room: int) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(cells_table(states, room))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def test_a_line_says_where_a_cell_stands():
    running = cell("abc/seed-0", "running", 5, score=-0.456, kl=3.14, seconds_left=75.4)
    head, _, line, waiting = lines([running, cell("rlhf/seed-0")], 9)
    assert head.split() == ["cell", "state", "step", "score", "KL", "time", "left"]
    assert line.split() == ["abc/seed-0", "running", "5/20", "-0.46", "3.1", "0:01:15"]
    assert waiting.split() == ["rlhf/seed-0", "waiting", "0/20"]


def test_of_more_cells_than_lines_the_most_telling_are_shown_in_the_grid_s_order():
    ended = [cell(f"abc/seed-{seed}", "finished", 20) for seed in range(5)]
    others = [cell("abc/seed-5", "failed", 3), cell("abc/seed-6", "running", 1)]
    states = [*ended, *others, *(cell(f"abc/seed-{seed}") for seed in range(7, 10))]
    *_, fourth, failed, running, said = lines(states, 3)
    assert fourth.split()[0] == "abc/seed-4"
    assert failed.split()[1] == "failed"
    assert running.split()[1] == "running"
    assert said == "10 cells: 1 running, 1 failed, 5 finished, 3 waiting"


@pytest.mark.parametrize("room", [-5, 0, 1])
def test_on_a_tiny_terminal_one_line_is_left(room):
    states = [cell("abc/seed-0"), cell("abc/seed-1", "running", 2)]
    assert lines(states, room)[2].split()[0] == "abc/seed-1"


def test_names_are_no_markup():
    assert lines([cell("[bold]abc[/bold]")], 3)[-1].split()[0] == "[bold]abc[/bold]"


def test_a_terminal_shows_the_cells_while_they_run_and_not_afterwards():
    reporter = ConsoleReporter()
    seen = reporter._progress
    with reporter:
        reporter.start("PPO steps of 1 cells", 20)
        reporter.cells([cell("abc/seed-0", "running", 2)])
        assert len(list(seen.get_renderables())) == 2
    assert len(list(seen.get_renderables())) == 1


def test_a_piece_whose_total_is_learnt_later_keeps_its_bar():
    reporter = ConsoleReporter()
    with reporter:
        reporter.start("training sft", 0)
        reporter.start("training sft", 60)
        reporter.advance(30, {"loss": 3.0})
        [task] = reporter._progress.tasks
        assert (task.total, task.completed) == (60, 30)
