"""compare as a whole: the same table from any number of jobs, and nothing runs twice."""

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from matplotlib.image import imread

from abcrl.config import (
    CompareConfig,
    GridConfig,
    InputError,
    plan_cells,
    shared_stages,
    to_yaml,
)
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.stages.plan import describe_plan
from abcrl.storage import read_config, read_rows, read_status
from tests.stages.comparisons import ARMS, Listening, cells, configure, on, results, stamps

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> CompareConfig:
    """Two arms, two seeds, one job: finished."""
    config = configure(tmp_path_factory.mktemp("compare") / "one")
    result = run_compare(config, SilentReporter())
    assert result.summary.failed == ()
    return config


def test_every_cell_is_a_finished_run_of_its_arm_and_seed(comparison):
    folder = Path(comparison.output)
    assert (folder / "config.yaml").read_text() == to_yaml(comparison)
    planned = cells(comparison)
    assert list(planned) == ["abc/seed-0", "rlhf/seed-0", "abc/seed-1", "rlhf/seed-1"]
    for key, cell in planned.items():
        assert cell == folder / "cells" / key
        assert read_status(cell) == "finished"
        assert [row["step"] for row in read_rows(cell, "metrics")] == [0, 1, 2]
        assert (cell / "final" / "model.safetensors").is_file()
    for run in shared_stages(comparison):
        assert run is not None
        assert read_status(Path(run.run.output)) == "finished"


def test_cells_of_one_seed_start_from_the_same_draws(comparison):
    planned = cells(comparison)
    start = {key: read_rows(folder, "metrics")[0] for key, folder in planned.items()}
    assert start["abc/seed-0"] == start["rlhf/seed-0"]
    assert start["abc/seed-1"] == start["rlhf/seed-1"]
    assert start["abc/seed-0"] != start["abc/seed-1"]
    scores = {
        key: read_rows(folder, "metrics")[1]["objective/score"] for key, folder in planned.items()
    }
    assert scores["abc/seed-0"] == scores["rlhf/seed-0"] != scores["abc/seed-1"]


def test_the_table_repeats_what_the_cells_say(comparison):
    rows = results(Path(comparison.output))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("abc", "0"),
        ("abc", "1"),
        ("rlhf", "0"),
        ("rlhf", "1"),
    ]
    for row in rows:
        folder = cells(comparison)[f"{row['arm']}/seed-{row['seed']}"]
        scores = [metrics["eval/score"] for metrics in read_rows(folder, "metrics")]
        assert float(row["final_score"]) == pytest.approx(scores[-1])
        trapezoid = (scores[0] / 2 + scores[1] + scores[2] / 2) / 2
        assert float(row["auc"]) == pytest.approx(trapezoid)
        assert row["status"] == "finished"
        assert (row["beta"], row["gae_lambda"]) == ("0.8" if row["arm"] == "abc" else "", "0.95")


def test_the_summary_is_strict_json_with_every_value(comparison):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = (Path(comparison.output) / "summary.json").read_text()
    summary = json.loads(text, parse_constant=refuse)
    assert (summary["cells"], summary["failed"]) == (4, [])
    assert [arm["name"] for arm in summary["arms"]] == ["abc", "rlhf"]
    assert len(summary["arms"][0]["auc"]["values"]) == 2
    [contrast] = summary["contrasts"]
    assert (contrast["arm"], contrast["baseline"]) == ("abc", "rlhf")
    assert contrast["verdict"]


def test_the_figure_shows_something(comparison):
    png = Path(comparison.output) / "learning-curves.png"
    picture = imread(png)
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    assert picture[..., :3].std() > 0.05
    assert len({tuple(pixel) for pixel in picture[::7, ::7, :3].reshape(-1, 3)}) > 10
    assert b"<svg" in png.with_suffix(".svg").read_bytes()


def test_two_jobs_and_the_command_line_give_the_same_results(comparison, tmp_path, app_main):
    code, output = app_main(configure(tmp_path / "two", grid__jobs=2))
    assert code == 0
    assert f"results  {tmp_path / 'two'}" in output
    for said in ["abc", "rlhf", "seed 0", "seed 1", "Verdict:", "figure"]:
        assert said in output
    one, two = Path(comparison.output), tmp_path / "two"
    assert (one / "results.csv").read_bytes() == (two / "results.csv").read_bytes()
    assert (one / "summary.json").read_bytes() == (two / "summary.json").read_bytes()
    for key, cell in cells(comparison).items():
        for name in ("metrics.jsonl", "samples.jsonl", "final/model.safetensors"):
            assert (cell / name).read_bytes() == (two / "cells" / key / name).read_bytes()
    assert list((two / "logs").iterdir())
    assert not list(two.glob("**/.*.tmp"))


def test_a_second_call_runs_nothing(comparison):
    folder = Path(comparison.output)
    before, table = stamps(folder), (folder / "results.csv").read_bytes()
    reporter = Listening()
    run_compare(comparison, reporter, retry_failed=True)
    assert stamps(folder) == before
    assert (folder / "results.csv").read_bytes() == table
    assert reporter.messages == [
        "sft: finished before",
        "reward-model: finished before",
        "cells: all 4 were finished before",
    ]


def test_a_copy_elsewhere_is_the_same_comparison(comparison, tmp_path):
    folder = shutil.copytree(comparison.output, tmp_path / "copied")
    models = [stamps(folder / name / "final") for name in ("sft", "reward-model")]
    reporter = Listening()
    moved = comparison.replace(output=str(folder))
    describe_plan(moved)
    run_compare(moved, reporter)
    assert reporter.messages[-1] == "cells: all 4 were finished before"
    assert [stamps(folder / name / "final") for name in ("sft", "reward-model")] == models
    for name in ("results.csv", "summary.json"):
        assert (folder / name).read_bytes() == (Path(comparison.output) / name).read_bytes()
    for run in (*shared_stages(moved), *(cell.run for cell in plan_cells(moved))):
        assert run is not None
        assert read_config(Path(run.run.output)) == to_yaml(run)


def test_cells_that_a_call_does_not_name_are_told_of(comparison, tmp_path):
    folder = shutil.copytree(comparison.output, tmp_path / "copied")
    reporter = Listening()
    run_compare(comparison.replace(output=str(folder), seeds=[1]), reporter)
    assert reporter.messages[-2:] == [
        "cells: all 2 were finished before",
        f"cells: 2 more in {folder} are finished; results are of the arms and seeds that this call "
        f"names",
    ]


def test_the_number_of_jobs_is_no_other_configuration(comparison):
    folder = Path(comparison.output)
    before = stamps(folder)
    run_compare(comparison.replace(grid=GridConfig(jobs=2)), SilentReporter())
    assert stamps(folder) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sft__training__max_steps": 6}, "sft ran with other settings (training.max_steps: 5 "),
        ({"train_rm__credit_texts": 5}, "reward-model ran with other settings (credit_texts: 4 "),
        ({"ppo__steps": 3}, "cells/abc/seed-0 ran with other settings (steps: 2 there, 3 now)"),
        (
            {"arms": [{"name": "abc", "reward": {"mode": "abc", "beta": 0.5}}]},
            "cells/abc/seed-0 ran with other settings (reward.beta: None there, 0.5 now)",
        ),
    ],
)
def test_other_settings_on_the_same_folder_are_refused_by_key(comparison, changes, said):
    folder = Path(comparison.output)
    before, saved = stamps(folder), (folder / "config.yaml").read_bytes()
    with pytest.raises(InputError) as caught:
        run_compare(configure(folder, **changes), SilentReporter())
    assert str(caught.value).startswith("output: ")
    assert said in str(caught.value)
    assert "--output" in str(caught.value)
    assert stamps(folder) == before
    assert (folder / "config.yaml").read_bytes() == saved


def test_two_comparisons_cannot_share_a_folder(comparison):
    folder = Path(comparison.output)
    before = stamps(folder)
    with (
        FileLock(folder / ".lock").acquire(timeout=0),
        pytest.raises(InputError, match="is being written by another abcrl compare"),
    ):
        run_compare(comparison, SilentReporter())
    assert stamps(folder) == before
    run_compare(comparison, SilentReporter())  # and the lock is let go


def test_a_killed_cell_starts_again_and_ends_the_same(comparison):
    folder = Path(comparison.output)
    cell = cells(comparison)["rlhf/seed-1"]
    before = stamps(folder)
    complete = (cell / "metrics.jsonl").read_bytes()
    # What kill -9 leaves: a status that is no longer true, and half a row.
    (cell / "status.json").write_text('{"state": "running"}\n')
    (cell / "metrics.jsonl").write_bytes(complete[:-20])
    assert read_status(cell) == "killed"
    reporter = Listening()
    table = (folder / "results.csv").read_bytes()
    run_compare(comparison, reporter)
    assert reporter.messages[-1] == "rlhf/seed-1: unfinished (killed), starts again"
    assert read_status(cell) == "finished"
    assert (cell / "metrics.jsonl").read_bytes() == complete
    assert (folder / "results.csv").read_bytes() == table
    others = {path: stamp for path, stamp in before.items() if not path.is_relative_to(cell)}
    after = stamps(folder)
    assert {path: after[path] for path in others if path != cell.parent} == {
        path: stamp for path, stamp in others.items() if path != cell.parent
    }


def test_another_seed_and_another_arm_extend_the_comparison(tiny_runs, tmp_path):
    folder = tmp_path / "compare"
    run_compare(on(tiny_runs, folder, seeds=[0], arms=ARMS[:1]), SilentReporter())
    cell = folder / "cells" / "abc" / "seed-0"
    kept = {path: path.stat().st_mtime_ns for path in cell.rglob("*")}
    wider = on(tiny_runs, folder, seeds=[0, 1]).select_arms(["abc", "uniform"])
    result = run_compare(wider, SilentReporter())
    assert result.summary.failed == ()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [(row["arm"], row["seed"]) for row in results(folder)] == [
        (arm, seed) for arm in ("abc", "uniform") for seed in ("0", "1")
    ]
