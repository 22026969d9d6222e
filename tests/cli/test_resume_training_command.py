"""`sft --resume` and `train-rm --resume`: what they say, and how they end."""

import re
import shlex
import signal
from pathlib import Path

import pytest

from abcrl.config import to_yaml
from abcrl.storage import read_rows
from tests.cli.stopping import assert_orderly, end
from tests.grid.processes import wait_for
from tests.stages.stopped_runs import Stopping
from tests.stages.supervised_resuming import assert_same_end, configure, run

STAGES = ["sft", "train-rm"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_gone_on_with_by_its_folder_alone(abcrl, tiny_runs, tmp_path, stage):
    with pytest.raises(KeyboardInterrupt):
        run(configure(tiny_runs, stage, tmp_path / "run"), Stopping(8))
    run(configure(tiny_runs, stage, tmp_path / "whole"))
    answer = abcrl(stage, "--resume", "--output", tmp_path / "run")
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == "resumed from step 8"
    assert_same_end(tmp_path / "run", tmp_path / "whole")

    again = abcrl(stage, "--resume", "--output", tmp_path / "run")
    assert again.code == 0
    assert again.line == f"nothing to do: the run in {tmp_path / 'run'} is finished"
    assert again.output == answer.output
    assert "held-out" in answer.output


@pytest.mark.parametrize("stage", STAGES)
def test_where_there_is_no_run_yet_a_file_and_a_folder_are_enough(
    abcrl, tiny_runs, tmp_path, stage
):
    """As in a job script, which is the same the first time and every other."""
    config = configure(tiny_runs, stage, tmp_path / "elsewhere")
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    command = (stage, "--resume", "--config", "c.yaml", "--output", tmp_path / "run")
    answer = abcrl(*command)
    assert answer.code == 0, answer.errors
    assert answer.errors.splitlines()[0] == f"no run in {tmp_path / 'run'}: starts at step 0"
    assert abcrl(*command).line == f"nothing to do: the run in {tmp_path / 'run'} is finished"


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_of_another_command_is_refused(refuse, tiny_runs, tmp_path, stage):
    other = tiny_runs.root / ("reward-model" if stage == "sft" else "sft")
    kind = "an SFT run" if stage == "sft" else "a reward-model run"
    assert refuse(stage, "--resume", "--output", other) == (
        f"output: must hold {kind}, received {other}, which holds something else; choose another "
        f"--output"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_flags_of_resuming_that_cannot_work_are_refused(refuse, tmp_path, stage):
    assert refuse(stage, "--resume", "--output", tmp_path / "nothing").startswith(
        f"output: must hold a run to go on with, received {tmp_path / 'nothing'}, where there is "
    )
    assert refuse(stage, "--allow-inexact", "--output", "x") == (
        "--allow-inexact: must come with --resume, received without; add --resume"
    )
    model = ["--model", "a/b"]
    line = refuse(stage, *model, "--output", "run", "--checkpoint-interval", "0")
    assert line.startswith("checkpoint.interval: must be greater than or equal to 1, received 0")


def test_the_interval_of_checkpoints_is_a_flag(abcrl, tiny_runs, tmp_path):
    (tmp_path / "c.yaml").write_text(to_yaml(configure(tiny_runs, "sft", tmp_path / "run")))
    answer = abcrl("sft", "--config", "c.yaml", "--checkpoint-interval", "7")
    assert answer.code == 0, answer.errors
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-000014", "step-000015"]  # the last step always has one


@pytest.mark.parametrize("stage", ["sft", pytest.param("train-rm", marks=pytest.mark.slow)])
def test_a_stopped_command_tells_how_to_go_on_and_goes_on(start, abcrl, tiny_runs, tmp_path, stage):
    settings = {"training__epochs": 20.0, "training__max_steps": 40}
    folder: Path = tmp_path / "a run"  # with a space: what is told is for a shell
    (tmp_path / "c.yaml").write_text(to_yaml(configure(tiny_runs, stage, folder, **settings)))
    command = start(stage, "--config", tmp_path / "c.yaml")
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
    assert shlex.split(told[2]) == [stage, "--resume", "--output", str(folder)]

    answer = abcrl(*shlex.split(told[2]))
    assert answer.code == 0, answer.errors
    assert f"resumed from step {told[1]}" in answer.errors.splitlines()[0]
    run(configure(tiny_runs, stage, tmp_path / "whole", **settings))
    assert_same_end(folder, tmp_path / "whole")
