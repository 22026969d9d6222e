"""A comparison goes on with cells that were cut off, and ends as one that was not."""

import json
import shutil
from pathlib import Path

import pytest

from abcrl.config import CompareConfig, InputError, plan_cells, shared_stages
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.stages.ppo import run_ppo
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import newest_checkpoint, read_status
from tests.stages.comparisons import ARMS, Listening, cells, configure, on, stamps
from tests.stages.resuming import assert_same_end
from tests.stages.stopped_runs import Stopping

pytestmark = pytest.mark.usefixtures("fork_server")


class StoppingAtOnce(SilentReporter):
    def advance(self, done, numbers):  # noqa: ARG002
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tiny_runs, tmp_path_factory) -> CompareConfig:
    """Two arms, one seed, two steps: finished without a break."""
    config = on(tiny_runs, tmp_path_factory.mktemp("compare") / "whole", seeds=[0])
    run_compare(config, SilentReporter())
    return config


@pytest.fixture
def cut_off(tiny_runs, tmp_path) -> CompareConfig:
    """The same; the first cell was stopped after its first step."""
    config = on(tiny_runs, tmp_path / "compare", seeds=[0])
    with pytest.raises(KeyboardInterrupt):
        run_ppo(plan_cells(config)[0].run, StoppingAtOnce())
    return config


def assert_same_comparison(config: CompareConfig, other: CompareConfig) -> None:
    for key, folder in cells(config).items():
        assert read_status(folder) == "finished"
        assert_same_end(folder, cells(other)[key])
        assert newest_checkpoint(folder) is None
    for name in ("results.csv", "summary.json"):
        assert (Path(config.output) / name).read_bytes() == (Path(other.output) / name).read_bytes()


def log(config: CompareConfig) -> str:
    """What the first cell said."""
    lines = (Path(config.output) / "logs" / "abc-seed-0.txt").read_text().splitlines()
    said = [line.removeprefix("abcrl: ") for line in lines if line.startswith("abcrl: ")]
    return "".join(f"{text}\n" for text in said)


@pytest.mark.parametrize("state", ["interrupted", "killed"])
def test_a_cell_that_was_cut_off_goes_on_from_its_checkpoint(cut_off, finished, state):
    if state == "killed":
        (cells(cut_off)["abc/seed-0"] / "status.json").write_text('{"state": "running"}\n')
    reporter = Listening()
    run_compare(cut_off, reporter)
    assert reporter.messages == [
        f"abc/seed-0: unfinished ({state}), goes on from step-000001 if it can"
    ]
    assert log(cut_off) == "resumed from step 1\n"
    assert_same_comparison(cut_off, finished)


def test_a_cell_goes_on_in_a_comparison_that_was_moved(cut_off, finished, tmp_path):
    moved = cut_off.replace(output=str(shutil.move(cut_off.output, tmp_path / "elsewhere")))
    run_compare(moved, SilentReporter())
    assert log(moved) == "resumed from step 1\n"
    assert_same_comparison(moved, finished)


def test_a_failed_cell_goes_on_when_it_is_retried(cut_off, finished):
    status = cells(cut_off)["abc/seed-0"] / "status.json"
    status.write_text('{"state": "failed", "reason": "no space left on device"}\n')
    reporter = Listening()
    run_compare(cut_off, reporter)
    assert read_status(status.parent) == "failed"
    assert reporter.messages[0] == (
        "cells: 0 of 2 finished before, 1 failed; --retry-failed runs failed ones again"
    )
    run_compare(cut_off, SilentReporter(), retry_failed=True)
    assert log(cut_off) == "resumed from step 1\n"
    assert_same_comparison(cut_off, finished)


def test_a_cell_of_another_environment_starts_again(cut_off, finished):
    file = cells(cut_off)["abc/seed-0"] / "environment.json"
    environment = json.loads(file.read_text())
    environment["versions"]["torch"] = "2.1.0"
    file.write_text(json.dumps(environment))
    run_compare(cut_off, SilentReporter())
    assert "torch: 2.1.0 there" in log(cut_off)
    assert log(cut_off).endswith(": starts at step 0\n")
    assert_same_comparison(cut_off, finished)


def test_a_cell_whose_checkpoints_cannot_be_used_starts_again(cut_off, finished):
    (cells(cut_off)["abc/seed-0"] / "metrics.jsonl").unlink()
    run_compare(cut_off, SilentReporter())
    told = log(cut_off).splitlines()
    assert len(told) == 2
    assert told[0].endswith("rows of metrics.jsonl that it counts on are missing")
    assert told[1].startswith("no usable checkpoint in ")
    assert told[1].endswith(": starts at step 0")
    assert_same_comparison(cut_off, finished)


def test_a_cell_that_was_cut_off_in_other_settings_is_refused(tiny_runs, cut_off):
    other = on(tiny_runs, Path(cut_off.output), seeds=[0], ppo__steps=3)
    before = stamps(Path(cut_off.output))
    with pytest.raises(InputError, match=r"abc/seed-0 ran with other settings \(steps: 2 there"):
        run_compare(other, SilentReporter())
    assert stamps(Path(cut_off.output)) == before


def test_how_often_checkpoints_are_written_is_no_other_setting(tiny_runs, finished):
    folder = Path(finished.output)
    before = stamps(folder)
    run_compare(on(tiny_runs, folder, seeds=[0], ppo__checkpoint__interval=1), SilentReporter())
    assert stamps(folder) == before


def test_shared_runs_that_were_cut_off_go_on_from_their_checkpoints(tmp_path):
    """One comparison is cut off in SFT, then in the reward model; another is not."""
    options = {"seeds": [0], "arms": ARMS[:1], "ppo__steps": 1}
    config = configure(tmp_path / "cut-off", **options)
    sft, reward_model = shared_stages(config)
    assert sft is not None
    assert reward_model is not None
    with pytest.raises(KeyboardInterrupt):
        run_sft(sft, Stopping(2))
    run_sft(sft, SilentReporter(), resume=True)
    with pytest.raises(KeyboardInterrupt):
        run_train_rm(reward_model, Stopping(3))
    reporter = Listening()
    run_compare(config, reporter)
    assert reporter.messages[:2] == [
        "sft: finished before",
        "reward-model: unfinished (interrupted), goes on from step-000003 if it can",
    ]
    log = (tmp_path / "cut-off" / "logs" / "reward-model.txt").read_text()
    assert "resumed from step 3" in log
    run_compare(configure(tmp_path / "whole", **options), SilentReporter())
    for name in ("sft", "reward-model"):
        for file in ("metrics.jsonl", "final/model.safetensors"):
            first, second = (tmp_path / folder / name / file for folder in ("cut-off", "whole"))
            assert first.read_bytes() == second.read_bytes(), (name, file)
    assert newest_checkpoint(tmp_path / "cut-off" / "reward-model") is None
