"""What other commands do to a comparison under way: nothing. And what they say of it is so."""

import re
from pathlib import Path

import pytest

from abcrl.storage import read_recorded_status
from tests.cli.conftest import Invoke
from tests.cli.stopping import end
from tests.cli.undisturbed import CELLS, arguments, assert_same_results, runs_of
from tests.grid.processes import wait_for

pytestmark = pytest.mark.slow


def in_state(folder: Path, state: str) -> list[Path]:
    return [cell for cell in runs_of(folder, "cells") if read_recorded_status(cell) == state]


def count_finished(abcrl: Invoke, *words: object) -> int:
    """Calls a command; returns how many cells are finished by its output, or by its page."""
    answer = abcrl(*words)
    assert (answer.code, answer.errors) == (0, "")
    text = answer.output
    if words[0] == "report":
        text = Path(text.strip()).read_text(encoding="utf-8")
    [number] = re.findall(rf"(\d) of (?:them|{CELLS} cells) finished", text)
    return int(number)


def look_at_cell(abcrl: Invoke, cell: Path) -> None:
    """It was running; where it still is, it is neither gone on with nor evaluated."""
    evaluated, resumed = abcrl("eval", cell), abcrl("ppo", "--resume", "--output", cell)
    if (cell / "final").exists():
        return
    assert (evaluated.code, resumed.code) == (2, 2), evaluated.errors + resumed.errors
    assert "must be a run that has finished" in evaluated.line
    assert "is still running or was killed; wait for it" in evaluated.line
    assert f"{cell} is being written by another process" in resumed.line


def test_other_commands_and_another_comparison_change_no_byte(undisturbed, start, abcrl, tmp_path):
    folder, other = tmp_path / "comparison", tmp_path / "other"
    words = arguments(folder)
    commands = {folder: start(*words), other: start(*arguments(other))}
    wait_for((folder / "logs").exists)
    rounds = 0
    while True:
        running = in_state(folder, "running")
        if running:
            look_at_cell(abcrl, running[0])
        second = abcrl(*words)
        told = [
            len(in_state(folder, "finished")),
            count_finished(abcrl, *words, "--dry-run"),
            count_finished(abcrl, "report", folder),
            count_finished(abcrl, "report", folder, "--output", tmp_path / "page.html"),
            len(in_state(folder, "finished")),
        ]
        if commands[folder].process.poll() is not None:
            break
        assert second.code == 2, second.errors
        assert "is being written by another" in second.line
        assert told == sorted(told)
        rounds += 1
    assert rounds > 0
    # One that began before the end has perhaps been written after it.
    assert count_finished(abcrl, "report", folder) == CELLS
    for place, command in commands.items():
        code, said = end(command)
        assert code == 0, said
        assert_same_results(place, undisturbed.folder)
