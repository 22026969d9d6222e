"""Broken content of one cell: it is named, and the others are there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import Cell
from abcrl.storage import read_rows
from abcrl.tools.report import write_report
from abcrl.tools.report.gather import read_report
from tests.tools.report.reported import Page, configure, write_comparison


@pytest.fixture
def cells(tmp_path: Path, tiny_tokenizer) -> list[Cell]:
    return write_comparison(configure(tmp_path / "runs"), tiny_tokenizer)


def insert(folder: Path, stream: str, line: bytes, *, at: int = 2) -> None:
    """Puts a line in the place of the one that stands there."""
    file = folder / f"{stream}.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[at] = line
    file.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b'{"step": 1, "eval/score": 0.5}',
        b'{"eval/score": 0.5}',
        b'{"step": 2, "eval/score": "high"}',
    ],
)
def test_a_cell_without_readable_metrics_has_no_result_and_says_where(cells, tmp_path, line):
    insert(cells[0].folder, "metrics", line)
    report = read_report(tmp_path / "runs")
    [lost] = report.summary.failed
    assert (lost.arm.name, lost.seed, lost.status) == ("abc", 0, "failed")
    assert lost.reason.startswith("metrics.jsonl:3: must be a row of metrics, received ")
    assert report.finished == 3
    assert "failed, metrics.jsonl:3: must be a row of" in read_report(cells[0].folder).title


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"state": ["finished"]}'])
def test_a_cell_without_a_readable_status_has_no_result(cells, tmp_path, content):
    (cells[0].folder / "status.json").write_text(content)
    (cells[0].folder / "environment.json").write_text(content)
    report = read_report(tmp_path / "runs")
    assert [(one.arm.name, one.seed, one.status) for one in report.summary.failed] == [
        ("abc", 0, "killed")
    ]


def test_what_is_broken_is_named_on_the_page(cells, tmp_path):
    insert(cells[0].folder, "metrics", b"garbage")
    insert(cells[0].folder, "samples", b"<b>garbage</b>")
    page = Page(write_report(tmp_path / "runs").read_text(encoding="utf-8"))
    lines = page.text_of("li")
    assert "abc, seed 0: failed, metrics.jsonl:3: must be a row" in lines
    assert "abc/seed-0: samples.jsonl:3: must be a row of samples" in lines


def drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda row: row.pop(name)


def put(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda row: row.update({name: value})


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (drop("step"), "step 'None'"),
        (drop("token_scores"), "token_scores 'None'"),
        (drop("prompt_ids"), "prompt_ids 'None'"),
        (drop("response"), "response 'None'"),
        (lambda row: row["credit"].pop(), "credit of "),
        (put("score", "high"), "score 'high'"),
        (put("score", float("nan")), "score 'nan'"),
        (put("prompt_index", [1]), r"prompt_index '\[1\]'"),
        (put("score_offset", "much"), "score_offset 'much'"),
        (put("response_ids", [-1]), r"response_ids '\[-1\]'"),
        (put("prompt_ids", [2**40]), r"prompt_ids '\[1099"),
        (put("credit", ["a"]), "credit "),
    ],
)
def test_a_sample_that_is_none_is_left_out_and_named(cells, tmp_path, change, received):
    row = read_rows(cells[0].folder, "samples")[1]
    change(row)
    insert(cells[0].folder, "samples", json.dumps(row).encode(), at=1)
    report = read_report(tmp_path / "runs")
    [trouble] = report.troubles
    assert trouble.startswith("abc/seed-0: samples.jsonl:2: must be a sample, received ")
    assert report.samples.of == report.samples.shown == 15
    assert len(read_report(cells[0].folder).troubles) == 1


def test_samples_that_are_no_rows_leave_the_other_cells_theirs(cells, tmp_path):
    insert(cells[0].folder, "samples", b"garbage")
    report = read_report(tmp_path / "runs")
    [trouble] = report.troubles
    assert trouble.startswith("abc/seed-0: samples.jsonl:3: must be a row of samples")
    assert (report.finished, report.samples.of) == (4, 12)


def test_of_a_configuration_that_cannot_be_read_the_plan_stands(cells, tmp_path):
    (cells[0].folder / "config.yaml").write_bytes(b"\xff")
    report = read_report(tmp_path / "runs")
    assert [one.key for one in report.settings] == ["reward.mode", "reward.beta"]
    [trouble] = report.troubles
    assert trouble.startswith("abc/seed-0: config.yaml: must be a readable UTF-8 file")


def test_a_tokenizer_that_cannot_be_read_costs_the_tokens_alone(cells, tmp_path):
    policy = Path(cells[0].run.policy)
    (policy / "tokenizer.json").write_bytes(b"\xff")
    report = read_report(tmp_path / "runs")
    assert (report.samples.shown, report.samples.located) == (16, False)


def test_a_run_that_diverged_is_drawn_all_the_same(cells, tmp_path):
    for at, value in ((2, "3e38"), (3, "NaN"), (4, "Infinity")):
        row = f'{{"step": {at}, "eval/score": 0.5, "eval/kl_exact": {value}}}'
        insert(cells[0].folder, "metrics", row.encode(), at=at)
    assert write_report(tmp_path / "runs").is_file()
