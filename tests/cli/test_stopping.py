"""Ctrl-C, SIGTERM and SIGHUP end every command in an orderly way, whatever it is doing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from abcrl.config import CompareConfig, load_config, to_yaml
from abcrl.stages.compare import run_compare
from abcrl.stages.plan import plan_cells
from abcrl.stages.reporter import SilentReporter
from abcrl.storage import RunFolder, read_rows, read_status
from tests.grid.processes import Command, holder, listens_to, wait_for

SCRIPT = Path(sys.executable).with_name("abcrl")
SIGNALS = [signal.SIGINT, signal.SIGTERM]
PROGRESS = re.compile(r"(training|PPO|sft|reward-model|cells|\S+/seed-\d+)\b.*: ")

TRAINING = {"batch_size": 8, "max_length": 80, "log_interval": 5}
COMPARISON: dict[str, Any] = {
    "sft": {
        "data": {"limit": 300},
        "model": {"base": "tiny", "context_length": 96, "vocab_size": 400},
        "training": {**TRAINING, "max_steps": 150},  # long enough to be stopped in between
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


INTERRUPTED = (130, ["abcrl: interrupted"])


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """start("sft", "--config", ...): runs the installed command."""
    commands: list[Command] = []

    def start(*arguments: object, hangup: signal.Handlers = signal.SIG_DFL) -> Command:
        commands.append(Command(SCRIPT, *arguments, hangup=hangup))
        wait_for(lambda: listens_to(commands[-1].process.pid, signal.SIGTERM))
        return commands[-1]

    yield start
    for command in commands:
        command.clean_up()


def end(command: Command) -> tuple[int, list[str]]:
    """Exit code, and what stderr holds besides progress."""
    code, lines = command.end()
    return code, [line for line in lines if not PROGRESS.match(line)]


def wait_for_rows(*folders: Path) -> None:
    wait_for(lambda: all(read_rows(folder, "metrics") for folder in folders))


def assert_orderly(folder: Path) -> None:
    """The run says that it was interrupted; nothing is half-written, nobody holds it."""
    assert read_status(folder) == "interrupted"
    with FileLock(folder / ".lock").acquire(timeout=0):
        pass
    if (folder / "metrics.jsonl").exists():
        text = (folder / "metrics.jsonl").read_text()
        assert text.endswith("\n")
        assert all(json.loads(line) for line in text.splitlines())
    assert list(folder.rglob("*.tmp")) == []


@pytest.mark.parametrize("stage", ["sft", "train-rm", "ppo"])
def test_a_signal_ends_a_run_and_is_on_record(start, tiny_runs, tmp_path, stage):
    folders = {number: tmp_path / number.name for number in SIGNALS}
    commands = {}
    for number, folder in folders.items():
        if stage == "ppo":
            config = tiny_runs.ppo(folder, steps=100_000)
        else:
            make = tiny_runs.sft if stage == "sft" else tiny_runs.train_rm
            config = make(folder, training__max_steps=100_000)
        file = tmp_path / f"{number.name}.yaml"
        file.write_text(to_yaml(config))
        commands[number] = start(stage, "--config", file)
    wait_for_rows(*folders.values())
    for number, command in commands.items():
        command.send(number)
    for number, command in commands.items():
        assert end(command) == INTERRUPTED
        assert_orderly(folders[number])


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        (0.0, signal.SIGINT),
        (0.3, signal.SIGTERM),
        (0.6, signal.SIGHUP),
        (1.0, signal.SIGINT),
        (2.0, signal.SIGTERM),
    ],
)
def test_a_signal_in_the_first_moments_leaves_no_folder(
    start, tiny_runs, tmp_path, seconds, number
):
    config = tiny_runs.sft(tmp_path / "run", training__max_steps=100_000)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    command = start("sft", "--config", tmp_path / "c.yaml")
    # What it does by then, the machine decides: most likely it imports, where exceptions get lost.
    with pytest.raises(subprocess.TimeoutExpired):
        command.process.wait(seconds)
    command.send(number)
    assert end(command) == INTERRUPTED
    if (tmp_path / "run").exists():  # a fast machine
        assert_orderly(tmp_path / "run")


@pytest.mark.parametrize(
    "accident",
    [
        """
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            pass
        time.sleep(60)
        """,
        """
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise ImportError("cannot import name 'x'")
        """,
        """
        class Resource:
            def __del__(self):
                signal.raise_signal(signal.SIGTERM)

        Resource()
        time.sleep(60)
        """,
    ],
    ids=["swallowed", "turned into another error", "lost in a destructor"],
)
def test_libraries_cannot_lose_an_interrupt(tmp_path, accident):
    script = tmp_path / "command.py"
    body = textwrap.indent(textwrap.dedent(accident), "        ")
    script.write_text(
        "import signal, sys, time, typer\n"
        "from abcrl_cli.outcome import exit_codes\n"
        "try:\n"
        f"    with exit_codes(debug=False):\n{body}\n"
        "except typer.Exit as end:\n"
        "    sys.exit(end.exit_code)\n"
    )
    assert Command(sys.executable, script).end() == INTERRUPTED


def test_a_closed_terminal_ends_a_run_unless_it_was_told_to_stay(start, tiny_runs, tmp_path):
    for name in ("stays", "ends"):
        config = tiny_runs.sft(tmp_path / name, training__max_steps=100_000)
        (tmp_path / f"{name}.yaml").write_text(to_yaml(config))
    # As nohup starts it.
    stays = start("sft", "--config", tmp_path / "stays.yaml", hangup=signal.SIG_IGN)
    ends = start("sft", "--config", tmp_path / "ends.yaml")
    wait_for_rows(tmp_path / "stays", tmp_path / "ends")

    for command in (stays, ends):
        command.send(signal.SIGHUP, to_group=True)
    assert end(ends) == INTERRUPTED
    assert_orderly(tmp_path / "ends")

    before = len(read_rows(tmp_path / "stays", "metrics"))
    wait_for(lambda: len(read_rows(tmp_path / "stays", "metrics")) > before + 5)
    stays.send(signal.SIGTERM)
    assert end(stays) == INTERRUPTED
    assert_orderly(tmp_path / "stays")


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


@pytest.mark.parametrize(("first", "second"), [SIGNALS, SIGNALS[::-1]])
def test_a_stopped_comparison_goes_on_later(start, tmp_path, first, second):
    arguments, cells = write_comparison(tmp_path)
    sft, reward_model = tmp_path / "comparison" / "sft", tmp_path / "comparison" / "reward-model"

    command = start(*arguments)
    wait_for_rows(sft)
    command.send(first, to_group=first == signal.SIGINT)
    assert end(command) == INTERRUPTED
    assert_orderly(sft)
    assert not reward_model.exists()

    command = start(*arguments)
    wait_for_rows(*cells)
    command.send(second, to_group=second == signal.SIGINT)
    assert end(command) == INTERRUPTED
    for cell in cells:
        assert_orderly(cell)
    assert (read_status(sft), read_status(reward_model)) == ("finished", "finished")

    before = stamps(sft, reward_model)
    assert end(start(*arguments)) == (0, [])
    assert [read_status(cell) for cell in cells] == ["finished", "finished"]
    assert stamps(sft, reward_model) == before


def test_the_first_moments_of_a_comparison(start, tiny_runs, tmp_path):
    arguments, cells = write_comparison(tmp_path, **only_cells(tiny_runs, steps=2))
    command = start(*arguments)
    # The folder is there, the fork server is not ready: it imports torch for seconds to come.
    wait_for((tmp_path / "comparison" / "logs").exists)
    command.send(signal.SIGINT, to_group=True)
    assert end(command) == INTERRUPTED
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
    assert end(command) == INTERRUPTED
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
