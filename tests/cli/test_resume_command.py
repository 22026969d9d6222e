"""`ppo --resume`: what it says, how it ends, and that it is the run that it would have been."""

import json
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from abcrl.config import to_yaml
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows, read_status
from tests.cli.stopping import assert_orderly, end
from tests.grid.processes import wait_for
from tests.stages.resuming import RESUMED, assert_same_end


class Stopping(SilentReporter):
    """Asks the run to stop after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def advance(self, done: int, numbers: object) -> None:  # noqa: ARG002
        if done == self._step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tiny_runs, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("resume-command") / "finished"
    run_ppo(tiny_runs.ppo(folder, **RESUMED), SilentReporter())
    return folder


@pytest.fixture(scope="module")
def stopped_once(tiny_runs, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("resume-command") / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run_ppo(tiny_runs.ppo(folder, **RESUMED), Stopping(3))
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    """A run of five steps that was stopped after the third, in a folder of this test."""
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))


def test_a_run_is_gone_on_with_by_its_folder_alone(abcrl, stopped, finished):
    answer = abcrl("ppo", "--resume", "--output", stopped)
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == "resumed from step 3"
    assert answer.output.startswith("held-out score ")
    assert_same_end(stopped, finished)


def test_a_finished_run_has_nothing_to_do(abcrl, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    answer = abcrl("ppo", "--resume", "--output", finished)
    assert answer.code == 0
    assert answer.line == f"nothing to do: the run in {finished} is finished"
    assert answer.output.startswith("held-out score ")
    assert str(finished / "final") in answer.output
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_without_a_checkpoint_it_starts_at_step_0_and_says_so(abcrl, stopped, finished):
    shutil.rmtree(stopped / "checkpoints")
    answer = abcrl("ppo", "--resume", "--output", stopped)
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == f"no checkpoint in {stopped}: starts at step 0"
    assert_same_end(stopped, finished)


def test_checkpoints_that_cannot_be_used_are_kept_and_named(refuse, stopped):
    before = (stopped / "metrics.jsonl").read_bytes()
    (stopped / "metrics.jsonl").unlink()
    assert refuse("ppo", "--resume", "--output", stopped) == (
        f"run.output: must hold a checkpoint to go on from, received {stopped}, which holds "
        f"checkpoints, none usable (checkpoint step-000003 cannot be used: rows of metrics.jsonl "
        f"that it counts on are missing); restore the files, remove {stopped / 'checkpoints'} to "
        f"start at step 0, or choose another --output"
    )
    (stopped / "metrics.jsonl").write_bytes(before)
    assert refuse("ppo", "--resume", "--output", stopped, "--seed", "5").endswith("--output")
    assert len(list((stopped / "checkpoints").iterdir())) == 2


def test_without_a_run_it_starts_at_step_0_and_says_so(abcrl, tiny_runs, tmp_path, finished):
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_runs.ppo(tmp_path / "run", **RESUMED)))
    # As in a job script: the file says what to run, the flag where.
    answer = abcrl("ppo", "--resume", "--config", "c.yaml", "--output", tmp_path / "run")
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == f"no run in {tmp_path / 'run'}: starts at step 0"
    assert_same_end(tmp_path / "run", finished)


@pytest.mark.parametrize(
    ("arguments", "differing"),
    [
        (["--set", "ppo.learning_rate=0.5"], "ppo.learning_rate: 0.001 there, 0.5 now"),
        (["--seed", "5"], "run.seed: 0 there, 5 now"),
        (["--steps", "6"], "steps: 5 there, 6 now"),
        (["--reward", "rlhf"], "reward.mode: abc there, rlhf now"),
    ],
)
def test_other_settings_are_refused_by_key(refuse, stopped, arguments, differing):
    assert refuse("ppo", "--resume", "--output", stopped, *arguments) == (
        f"run.output: must hold a run with these settings, received {stopped}, which ran with "
        f"others ({differing}); resume it with those, or choose another --output"
    )
    assert read_status(stopped) == "interrupted"


def test_without_the_flag_a_run_is_left_alone_and_the_flag_named(refuse, stopped):
    (stopped.parent / "c.yaml").write_bytes((stopped / "config.yaml").read_bytes())
    line = refuse("ppo", "--config", "c.yaml", "--output", stopped)
    assert line == (
        f"run.output: the folder must not exist yet, received {stopped}; go on with --resume, or "
        f"choose another name with --output or remove it"
    )


def test_another_environment_is_refused_unless_it_may_be_inexact(refuse, abcrl, stopped, finished):
    file = stopped / "environment.json"
    stored = json.loads(file.read_text())
    stored["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(stored))
    line = refuse("ppo", "--resume", "--output", stopped)
    assert line.startswith(f"run.output: the run in {stopped} must go on where it ran to end in")
    assert "torch" in line
    assert line.endswith("go back to that, or let the last digits differ with --allow-inexact")

    answer = abcrl("ppo", "--resume", "--allow-inexact", "--output", stopped)
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == "resumed from step 3"
    assert_same_end(stopped, finished)  # here it is the same machine after all


def test_the_interval_of_checkpoints_is_a_flag_and_changes_no_byte(
    abcrl, tiny_runs, tmp_path, finished
):
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_runs.ppo(tmp_path / "run", **RESUMED)))
    answer = abcrl("ppo", "--config", "c.yaml", "--checkpoint-interval", "3")
    assert answer.code == 0, answer.errors
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names == ["step-000003"]
    assert_same_end(tmp_path / "run", finished)


def test_no_interval_is_refused(refuse):
    arguments = ["--policy", "a/b", "--reward-model", "c/d", "--output", "run"]
    line = refuse("ppo", *arguments, "--checkpoint-interval", "0")
    assert line.startswith("checkpoint.interval: must be greater than or equal to 1, received 0")


def test_a_stopped_command_tells_how_to_go_on_and_goes_on(start, abcrl, tiny_runs, tmp_path):
    settings = {"steps": 20, "evaluation__interval": 10}
    folder = tmp_path / "a run"  # with a space: what is told is for a shell
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_runs.ppo(folder, **settings)))
    command = start("ppo", "--config", tmp_path / "c.yaml")
    wait_for(lambda: len(read_rows(folder, "metrics")) > 2)
    command.send(signal.SIGTERM)

    code, [line] = end(command)
    assert code == 130
    told = re.fullmatch(
        r"abcrl: interrupted; checkpoint of step (\d+) written; go on with: abcrl (.*)", line
    )
    assert told is not None, line
    assert_orderly(folder)
    assert (folder / "checkpoints" / f"step-{int(told[1]):06}").is_dir()
    assert shlex.split(told[2]) == ["ppo", "--resume", "--output", str(folder)]

    answer = abcrl(*shlex.split(told[2]))
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == f"resumed from step {told[1]}"
    run_ppo(tiny_runs.ppo(tmp_path / "whole", **settings), SilentReporter())
    assert_same_end(folder, tmp_path / "whole")
