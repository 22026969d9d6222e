"""The page of a supervised run: its course, its last metrics, its settings and environment."""

from pathlib import Path
from typing import Any

import pytest

from abcrl.config import RunFailedError, SftConfig, TrainRmConfig, load_config
from abcrl.storage import RunFolder
from abcrl.tools.report import write_report
from abcrl.tools.report.gather import read_report
from tests.tools.report.reported import ENVIRONMENT, Page

ROWS: list[dict[str, Any]] = [
    {"step": 20, "train/loss": 2.0},
    {"step": 40, "train/loss": 1.5, "eval/loss": 1.75, "eval/accuracy": 0.625},
    {"step": 60, "train/loss": 1.25, "eval/loss": 1.5, "eval/accuracy": 0.75},
]


def write_run(folder: Path, kind: type[SftConfig] | type[TrainRmConfig]) -> Path:
    model = {"model": str(folder / "absent")} if kind is TrainRmConfig else {}
    config = load_config(kind, flags={"run.output": str(folder), "run.seed": 3, **model})
    with RunFolder.create(folder, config, ENVIRONMENT) as run:
        run.append("metrics", ROWS)
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "command"),
    [(SftConfig, "SFT model", "sft"), (TrainRmConfig, "Reward model", "train-rm")],
)
def test_a_page_of_a_supervised_run_has_what_it_measured(tmp_path, kind, name, command):
    folder = write_run(tmp_path / "run", kind)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert page.text_of("title") == f"run: {name}, seed 3"
    assert page.text_of("kind") == f"abcrl {command}"
    assert page.tables[f"Last metrics of the {name}"] == [
        ["step", "60"],
        ["train/loss", "1.2500"],
        ["eval/loss", "1.5000"],
        ["eval/accuracy", "0.7500"],
    ]
    assert ["run.seed", "3"] in page.tables["Settings"]
    assert ["versions.torch", "2.0"] in page.tables["Environment"]
    assert "Training course." in page.text_of("figcaption")
    assert not {"verdicts", "samples", "secondary"} & set(page.ids)
    assert (folder / "training-course.png").is_file()


def test_a_supervised_run_that_failed_or_is_broken_says_why(tmp_path):
    config = load_config(SftConfig, flags={"run.output": str(tmp_path / "run")})
    run = RunFolder.create(tmp_path / "run", config, ENVIRONMENT)
    with pytest.raises(RunFailedError), run:
        raise RunFailedError("step 2: loss is nan")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"garbage\n")
    report = read_report(tmp_path / "run")
    assert report.title == "SFT model, seed 0: failed, step 2: loss is nan"
    [trouble] = report.troubles
    assert trouble.startswith("metrics.jsonl:1: must be a row of metrics")
