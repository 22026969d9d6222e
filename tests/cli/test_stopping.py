"""Ctrl-C, SIGTERM and SIGHUP end every command in an orderly way, whatever it is doing."""

import signal
import subprocess
import sys
import textwrap

import pytest

from abcrl.config import to_yaml
from abcrl.storage import read_rows
from tests.cli.stopping import INTERRUPTED, SIGNALS, assert_orderly, end, wait_for_rows
from tests.grid.processes import Command, wait_for


def assert_interrupted(command: Command) -> None:
    """It goes on to say how the run can be gone on with."""
    code, [line] = end(command)
    assert (code, [line.partition(";")[0]]) == INTERRUPTED


# SIGTERM ends sft and ppo in test_resume_training_command.py and test_resume_command.py too.
@pytest.mark.parametrize(
    ("stage", "numbers"),
    [
        ("sft", [signal.SIGINT]),
        ("ppo", [signal.SIGINT]),
        pytest.param("train-rm", SIGNALS, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_and_is_on_record(start, tiny_runs, tmp_path, stage, numbers):
    folders = {number: tmp_path / number.name for number in numbers}
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
        code, [line] = end(command)
        # It goes on to say how it can be gone on with: test_resume_command.py and the other one.
        assert (code, [line.partition(";")[0]]) == INTERRUPTED
        assert f"go on with: abcrl {stage} --resume" in line
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
    assert_interrupted(command)
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


@pytest.mark.slow
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
    assert_interrupted(ends)
    assert_orderly(tmp_path / "ends")

    before = len(read_rows(tmp_path / "stays", "metrics"))
    wait_for(lambda: len(read_rows(tmp_path / "stays", "metrics")) > before + 5)
    stays.send(signal.SIGTERM)
    assert_interrupted(stays)
    assert_orderly(tmp_path / "stays")
