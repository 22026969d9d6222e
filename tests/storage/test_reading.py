"""What a run folder says when its content is damaged, or may not be written to."""

import json
from pathlib import Path

import pytest

from abcrl.config import InputError
from abcrl.storage import (
    read_environment,
    read_fingerprints,
    read_last_row,
    read_metrics,
    read_reason,
    read_rows,
    read_seconds,
    read_status,
)

GOOD = [
    {"step": 0, "eval/score": 0.5, "kl_alarm": True},
    {"step": 2, "eval/score": None, "kl": 3e38},
]


def write(folder: Path, lines: list[bytes], stream: str = "metrics") -> None:
    (folder / f"{stream}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def encode(*rows: object) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def test_rows_of_metrics_come_back_as_they_were_written(tmp_path):
    write(tmp_path, encode(*GOOD))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3')  # being written
    assert read_metrics(tmp_path) == read_rows(tmp_path, "metrics") == GOOD
    assert read_metrics(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "line", [b"garbage", b"", b"[1, 2]", b"null", b'{"step": \xff}', b"[" * 100_000]
)
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    write(tmp_path, [*encode(*GOOD), line])
    for read in (read_metrics, lambda folder: read_rows(folder, "metrics")):
        with pytest.raises(InputError, match=r"metrics\.jsonl:3: must be a row of metrics, rec"):
            read(tmp_path)
    assert read_last_row(tmp_path, "metrics") is None


@pytest.mark.parametrize(
    ("row", "received"),
    [
        ({"eval/score": 1.0}, "received step None"),
        ({"step": "3"}, "received step '3'"),
        ({"step": True}, "received step True"),
        ({"step": -1}, "received step -1"),
        ({"step": 2}, "received step 2 after step 2"),
        ({"step": 1}, "received step 1 after step 2"),
        ({"step": 3, "eval/score": "high"}, "received eval/score 'high'"),
        ({"step": 3, "eval/score": [1]}, r"received eval/score \[1\]"),
        ({"step": 3, "eval/score": 10**400}, "received eval/score 1000"),
        ({"step": 3, "eval/score": -1e308}, r"received eval/score -1e\+308"),
    ],
)
def test_a_row_that_is_none_of_metrics_is_named_with_its_flaw(tmp_path, row, received):
    write(tmp_path, encode(*GOOD, row))
    with pytest.raises(InputError, match=rf"metrics\.jsonl:3: .*{received}"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"{", b"\xff", b'{"state": 5}', b"3"])
def test_a_status_that_is_none_says_nothing(tmp_path, content):
    (tmp_path / "status.json").write_bytes(content)
    (tmp_path / "environment.json").write_bytes(content)
    assert (read_status(tmp_path), read_reason(tmp_path)) == (None, "")
    assert read_fingerprints(tmp_path) == {}
    assert read_environment(tmp_path).keys() <= {"state"}


def test_a_lock_that_may_not_be_asked_for_leaves_the_run_running(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "running"}')
    (tmp_path / ".lock").mkdir()  # opening it fails for whoever asks, root too
    assert read_status(tmp_path) == "running"


def test_times_that_are_none_are_not_counted(tmp_path):
    write(tmp_path, encode({"step_seconds": 2.0}, {"step_seconds": "long"}), "timings")
    assert read_seconds(tmp_path) == 2.0
    write(tmp_path, [b"garbage"], "timings")
    assert read_seconds(tmp_path) is None
