"""compare as a whole: the same table from any number of jobs, and nothing runs twice."""

import csv
import json
import multiprocessing.forkserver
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from matplotlib.image import imread

from abcrl.config import CompareConfig, InputError, RunFailedError, load_config, to_yaml
from abcrl.stages.compare import run_compare
from abcrl.stages.plan import plan_cells, shared_stages
from abcrl.stages.reporter import SilentReporter
from abcrl.storage import RunFolder, read_reason, read_rows, read_status

STAGES = {
    f"{stage}.{key}": value
    for stage in ("sft", "train_rm")
    for key, value in {
        "data.limit": 300,
        "training.max_steps": 5,
        "training.batch_size": 8,
        "training.max_length": 80,
        "training.learning_rate": 3e-3,
    }.items()
}
TINY = {
    **STAGES,
    "sft.model.base": "tiny",
    "sft.model.context_length": 96,
    "sft.model.vocab_size": 400,
    "train_rm.credit_texts": 4,
    "ppo.steps": 2,
    "ppo.data.limit": 300,
    "ppo.prompt.min_characters": 0,
    "ppo.ppo.batch_size": 4,
    "ppo.ppo.mini_batch_size": 2,
    "ppo.ppo.learning_rate": 1e-3,
    "ppo.score.center_samples": 4,
    "ppo.evaluation.interval": 1,
    "ppo.evaluation.prompts": 4,
    "ppo.evaluation.samples": 1,
    "seeds": [0, 1],
}
ARMS = [{"name": "abc", "reward": {"mode": "abc"}}, {"name": "rlhf", "reward": {"mode": "rlhf"}}]


class Listening(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(scope="module", autouse=True)
def _workers_are_forked_from_a_server_that_knows_torch() -> None:
    # A server that earlier tests started has not imported the stages: each worker would, for
    # seconds. The next grid starts another.
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def configure(output: Path, **changes: Any) -> CompareConfig:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    flags = {**TINY, "arms": ARMS, "output": str(output), "jobs": 1, **named}
    return load_config(CompareConfig, flags=flags)


def on(runs: Any, output: Path, **changes: Any) -> CompareConfig:
    """A comparison on models that exist already: its cells alone."""
    trained = {key: value for key, value in TINY.items() if key not in STAGES}
    trained = {key: value for key, value in trained.items() if key.startswith(("ppo", "seeds"))}
    flags = {
        **trained,
        "sft": None,
        "train_rm": None,
        "policy": str(runs.policy),
        "reward_model": str(runs.reward_model),
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    values = {"arms": ARMS, "output": str(output), "jobs": 1, **named}
    file = output.with_name(f"{output.name}.yaml")
    file.write_text("sft: null\ntrain_rm: null\n")
    return load_config(CompareConfig, file=file, flags={**flags, **values})


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cells(config: CompareConfig) -> dict[str, Path]:
    return {cell.key: cell.folder for cell in plan_cells(config)}


def stamps(folder: Path) -> dict[Path, int]:
    """When each file of each run was last written."""
    runs = [folder / "sft", folder / "reward-model", folder / "cells"]
    return {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> CompareConfig:
    """Two arms, two seeds, one job: finished."""
    config = configure(tmp_path_factory.mktemp("compare") / "one")
    result = run_compare(config, SilentReporter())
    assert result.summary.failed == ()
    return config


@pytest.fixture
def quick(tiny_runs, tmp_path):
    """Two arms, one seed, on models that exist already: planned, not run."""
    return on(tiny_runs, tmp_path / "compare", seeds=[0])


@pytest.fixture
def app_main(capfd, tmp_path):
    """main(config, *flags): the command in this process, its exit code and what it printed."""
    from importlib.metadata import entry_points

    [script] = entry_points(group="console_scripts", name="abcrl")
    app = script.load()

    def main(config: CompareConfig, *flags: str) -> tuple[int, str]:
        (tmp_path / "saved.yaml").write_text(to_yaml(config))
        with pytest.raises(SystemExit) as caught:
            app(["compare", "--config", str(tmp_path / "saved.yaml"), *flags])
        assert isinstance(caught.value.code, int)
        return caught.value.code, capfd.readouterr().out

    return main


def fake_failure(config: CompareConfig, key: str) -> Path:
    """Leaves what a cell leaves that failed in its own process."""
    [cell] = [cell for cell in plan_cells(config) if cell.key == key]
    with (
        pytest.raises(RunFailedError),
        RunFolder.create(cell.folder, cell.run, {"device": "cpu"}),
    ):
        raise RunFailedError("step 2: loss is nan")
    return cell.folder


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
    code, output = app_main(configure(tmp_path / "two", jobs=2))
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


def test_the_number_of_jobs_is_no_other_configuration(comparison):
    folder = Path(comparison.output)
    before = stamps(folder)
    run_compare(comparison.replace(jobs=2), SilentReporter())
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


def test_what_a_cell_has_to_say_is_in_its_log(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "said", ppo__evaluation__prompts=500)
    run_compare(config, SilentReporter())
    log = (tmp_path / "said" / "logs" / "abc-seed-0.txt").read_text()
    assert "held-out prompts instead of 500" in log


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


def test_another_seed_and_another_arm_extend_the_comparison(tiny_runs, quick):
    run_compare(quick, SilentReporter())
    folder = Path(quick.output)
    kept = {
        path: path.stat().st_mtime_ns
        for seed in ("abc/seed-0", "rlhf/seed-0")
        for path in (folder / "cells" / seed).rglob("*")
    }
    wider = on(tiny_runs, folder, seeds=[0, 1]).select_arms(["abc", "rlhf", "uniform"])
    result = run_compare(wider, SilentReporter())
    assert result.summary.failed == ()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [(row["arm"], row["seed"]) for row in results(folder)] == [
        (arm, seed) for arm in ("abc", "rlhf", "uniform") for seed in ("0", "1")
    ]


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
