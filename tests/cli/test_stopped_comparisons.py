"""A comparison that is stopped stops its workers, keeps what is finished and goes on later."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import CompareConfig, load_config, plan_cells
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.storage import RunFolder, read_status
from tests.cli.stopping import SIGNALS, assert_orderly, end, wait_for_rows
from tests.grid.processes import holder, wait_for

TRAINING = {"batch_size": 8, "max_length": 80, "log_interval": 5}
COMPARISON: dict[str, Any] = {
    "sft": {
        "data": {"limit": 300},
        "model": {"base": "tiny", "context_length": 96, "vocab_size": 400},
        "training": {**TRAINING, "max_steps": 60},  # long enough to be stopped in between
    },
    "train_rm": {
        "data": {"limit": 300},
        "training": {**TRAINING, "max_steps": 5},
        "credit_texts": 4,
    },
    "ppo": {
        "steps": 20,
        "data": {"limit": 300},
        "prompt": {"min_characters": 0},
        "ppo": {"batch_size": 4, "mini_batch_size": 2},
        "score": {"center_samples": 4},
        "evaluation": {"interval": 20, "prompts": 4, "samples": 1},
    },
    "arms": [{"name": mode, "reward": {"mode": mode}} for mode in ("abc", "rlhf")],
    "seeds": [0],
}

STOPPED = (130, ["abcrl: interrupted; 0 of 2 cells finished; the same command goes on"])


def write_comparison(folder: Path, **changes: object) -> tuple[list[object], list[Path]]:
    """Returns the command's arguments, and the folders of its two cells."""
    file, output = folder / "compare.yaml", folder / "comparison"
    file.write_text(json.dumps({**COMPARISON, **changes}))  # JSON is YAML
    cells = [output / "cells" / arm / "seed-0" for arm in ("abc", "rlhf")]
    return ["compare", "--config", file, "--jobs", 2, "--output", output], cells


def only_cells(runs: Any, *, steps: int) -> dict[str, object]:
    """Changes that make a comparison start with its cells, on models that exist."""
    return {
        "sft": None,
        "train_rm": None,
        "policy": str(runs.policy),
        "reward_model": str(runs.reward_model),
        "ppo": {**COMPARISON["ppo"], "steps": steps},
    }


def stamps(*folders: Path) -> dict[Path, int]:
    """When each file was last written."""
    files = [path for folder in folders for path in folder.rglob("*")]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow  # how the cells of a comparison end and go on: below, test_resumed_comparisons.py
@pytest.mark.parametrize(("first", "second"), [SIGNALS, SIGNALS[::-1]])
def test_a_stopped_comparison_goes_on_later(start, tmp_path, first, second):
    arguments, cells = write_comparison(tmp_path)
    sft, reward_model = tmp_path / "comparison" / "sft", tmp_path / "comparison" / "reward-model"

    command = start(*arguments)
    wait_for_rows(sft)
    command.send(first, to_group=first == signal.SIGINT)
    assert end(command) == STOPPED
    assert_orderly(sft)
    assert not reward_model.exists()

    command = start(*arguments)
    wait_for_rows(*cells)
    command.send(second, to_group=second == signal.SIGINT)
    assert end(command) == STOPPED
    for cell in cells:
        assert_orderly(cell)
    assert (read_status(sft), read_status(reward_model)) == ("finished", "finished")

    before = stamps(sft, reward_model)
    code, said = end(start(*arguments))
    assert code == 0
    # Said where both were stopped at the same step.
    assert all(line.startswith("each cell: resumed from step ") for line in said)
    assert [read_status(cell) for cell in cells] == ["finished", "finished"]
    assert stamps(sft, reward_model) == before


def test_the_first_moments_of_a_comparison(start, tiny_runs, tmp_path):
    arguments, cells = write_comparison(tmp_path, **only_cells(tiny_runs, steps=2))
    command = start(*arguments)
    # The folder is there, the fork server is not ready: it imports torch for seconds to come.
    wait_for((tmp_path / "comparison" / "logs").exists)
    command.send(signal.SIGINT, to_group=True)
    assert end(command) == STOPPED
    assert not any(cell.exists() for cell in cells)


@pytest.mark.parametrize(
    "impatient",
    [True, pytest.param(False, marks=pytest.mark.slow)],  # waits the grace period
)
def test_a_cell_that_does_not_react_is_killed(start, tiny_runs, tmp_path, impatient):
    arguments, cells = write_comparison(tmp_path, **only_cells(tiny_runs, steps=100_000))
    command = start(*arguments)
    wait_for_rows(*cells)
    stuck = holder(cells[0] / ".lock", command.group)
    assert stuck is not None
    os.kill(stuck, signal.SIGSTOP)  # as if in a C call that does not come back
    command.send(signal.SIGINT)
    wait_for(lambda: read_status(cells[1]) == "interrupted")
    assert command.process.poll() is None
    if impatient:
        command.send(signal.SIGINT)
    assert end(command) == STOPPED
    assert read_status(cells[0]) == "killed"
    assert_orderly(cells[1])


def test_kill_9_of_a_comparison_leaves_no_process_and_killed_cells(start, tiny_runs, tmp_path):
    arguments, cells = write_comparison(tmp_path, **only_cells(tiny_runs, steps=100_000))
    command = start(*arguments)
    wait_for_rows(*cells)
    command.send(signal.SIGKILL)
    assert end(command) == (-signal.SIGKILL, [])
    assert [read_status(cell) for cell in cells] == ["killed", "killed"]


def test_an_interrupted_removal_of_a_cell_goes_on_later(tiny_runs, tmp_path, monkeypatch):
    _, cells = write_comparison(tmp_path, **only_cells(tiny_runs, steps=2))
    flags = {"output": str(tmp_path / "comparison")}
    config = load_config(CompareConfig, file=tmp_path / "compare.yaml", flags=flags)
    with (
        pytest.raises(KeyboardInterrupt),
        RunFolder.create(cells[0], plan_cells(config)[0].run, {}),
    ):
        raise KeyboardInterrupt
    monkeypatch.setattr(shutil, "rmtree", interrupt)
    for _ in range(2):  # also what the first left can be removed
        with pytest.raises(KeyboardInterrupt):
            run_compare(config, SilentReporter())
        assert [path.name for path in cells[0].iterdir()] == [".lock"]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
