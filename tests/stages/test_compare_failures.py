"""What fails is counted and says why; what is not ours, or in use, is left alone."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from abcrl.config import InputError, RunFailedError, plan_cells
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.storage import RunFolder, read_reason, read_status
from tests.stages.comparisons import ARMS, Listening, configure, fake_failure, on, results

pytestmark = pytest.mark.usefixtures("fork_server")


def test_a_cell_that_is_being_written_is_left_alone(quick):
    [cell, _] = plan_cells(quick)
    with (
        RunFolder.create(cell.folder, cell.run, {"device": "cpu"}),
        pytest.raises(InputError, match=r"cells/abc/seed-0 is being written by another process"),
    ):
        run_compare(quick, SilentReporter())
    assert cell.folder.exists()


def test_a_folder_that_is_no_run_is_never_removed(quick):
    [cell, _] = plan_cells(quick)
    cell.folder.mkdir(parents=True)
    (cell.folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"cells/abc/seed-0 is there and is no run; move it away"):
        run_compare(quick, SilentReporter())
    assert (cell.folder / "mine.txt").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_left_alone(quick, tmp_path, tiny_ppo_runs):
    before = (tiny_ppo_runs["abc"] / "config.yaml").read_bytes()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.yaml").write_text("mine: true\n")
    for folder in (tiny_ppo_runs["abc"], tmp_path / "project"):
        with pytest.raises(InputError, match=r"^output: must be new or hold a comparison"):
            run_compare(quick.replace(output=str(folder)), SilentReporter())
        assert not (folder / "sft").exists()
    assert (tiny_ppo_runs["abc"] / "config.yaml").read_bytes() == before


def test_what_every_cell_has_to_say_is_said_once(tiny_runs, tmp_path):
    config = on(
        tiny_runs,
        tmp_path / "said",
        arms=ARMS[:2],
        seeds=[0],
        ppo__steps=1,
        ppo__evaluation__prompts=500,
    )
    reporter = Listening()
    run_compare(config, reporter)
    log = (tmp_path / "said" / "logs" / "abc-seed-0.txt").read_text()
    assert "held-out prompts instead of 500" in log
    [said] = [text for text in reporter.messages if "held-out prompts instead of 500" in text]
    assert said.startswith("each cell: evaluation: ")


def test_a_failed_cell_is_counted_and_runs_again_only_on_request(quick, app_main):
    failed = fake_failure(quick, "abc/seed-0")
    code, output = app_main(quick)
    assert code == 1
    assert "failed: abc seed 0: step 2: loss is nan" in output
    assert read_reason(failed) == "step 2: loss is nan"
    rows = {row["arm"]: row for row in results(Path(quick.output))}
    assert (rows["abc"]["status"], rows["abc"]["reason"]) == ("failed", "step 2: loss is nan")
    assert (rows["abc"]["auc"], rows["rlhf"]["status"]) == ("", "finished")
    summary = json.loads((Path(quick.output) / "summary.json").read_text())
    assert [cell["arm"] for cell in summary["failed"]] == ["abc"]
    assert summary["arms"][0]["failed"] == 1

    code, output = app_main(quick, "--retry-failed")
    assert code == 0
    assert "failed:" not in output
    assert read_status(failed) == "finished"
    assert json.loads((Path(quick.output) / "summary.json").read_text())["failed"] == []


def test_cells_that_fail_before_they_have_a_folder_say_why(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0], ppo__response__cap_high=90)
    result = run_compare(config, SilentReporter())
    assert [cell.status for cell in result.summary.failed] == ["missing", "missing"]
    for row in results(tmp_path / "compare"):
        assert row["reason"].startswith("response.cap_high: prompt and response must fit")
    assert result.figure is None
    log = (tmp_path / "compare" / "logs" / "abc-seed-0.txt").read_text()
    assert "response.cap_high" in log


def test_a_stage_that_cannot_run_ends_the_comparison_with_its_reason(tmp_path):
    config = configure(tmp_path / "compare", sft__training__learning_rate=1e30)
    with pytest.raises(RunFailedError) as caught:
        run_compare(config, SilentReporter())
    assert str(caught.value).startswith("sft: train/")
    assert str(tmp_path / "compare" / "logs" / "sft.txt") in str(caught.value)
    assert not (tmp_path / "compare" / "cells").exists()
    # Nothing holds the folder: it can be removed, or used with better settings.
    with FileLock(tmp_path / "compare" / ".lock").acquire(timeout=0):
        pass
