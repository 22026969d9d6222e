"""Local files: every format gives the same texts, and a bad row is named by file and line."""

import csv
import gzip
import io
import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from abcrl.config import DataConfig, InputError
from abcrl.data import Example, require_source
from abcrl.data.files import open_table
from abcrl.data.records import read_examples

ROWS = [
    Example("A line\u2028that is one line\u0085still, and\x0bhere\x1c too.", 1),
    Example('Commas, "quotes",\nline feeds and\r\ncarriage returns', 0),
    Example("émotion 🎬 电影 فيلم", 1),
    Example("123", 0),
    Example("null", 1),
]


def rows_of(path: Path, **options: object) -> list[Example]:
    config = DataConfig.model_validate({"source": str(path), **options})
    return list(read_examples(open_table(path, config), config, labelled=True))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as refused:
        rows_of(path, **options)
    message = str(refused.value)
    assert len(message.split("\n")) == 1
    return message


def json_lines(rows: list[Example], *, ascii_only: bool = False) -> bytes:
    lines = [
        json.dumps({"id": 1, "text": row.text, "label": row.label}, ensure_ascii=ascii_only)
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def csv_text(rows: list[Example], terminator: str = "\n") -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator=terminator)
    writer.writerow(["id", "text", "label"])
    writer.writerows([["x", row.text, row.label] for row in rows])
    return stream.getvalue().encode()


def write_parquet(path: Path, rows: list[Example]) -> None:
    table = datasets.Dataset.from_list(
        [{"id": 1, "text": row.text, "label": row.label} for row in rows]
    )
    table.to_parquet(path)


def write(path: Path, rows: list[Example]) -> Path:
    match path.name.partition(".")[2]:
        case "jsonl":
            path.write_bytes(json_lines(rows))
        case "jsonl.gz":
            path.write_bytes(gzip.compress(json_lines(rows)))
        case "csv":
            path.write_bytes(csv_text(rows))
        case "csv.gz":
            path.write_bytes(gzip.compress(csv_text(rows, "\r\n")))
        case "parquet":
            write_parquet(path, rows)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path, kind):
    assert rows_of(write(tmp_path / f"rows.{kind}", ROWS)) == ROWS


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(), min_size=1, max_size=8))
def test_any_text_survives_json_lines_and_csv(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    rows = [Example(text, number % 2) for number, text in enumerate(texts)]
    for kind in ("jsonl", "csv.gz"):
        assert rows_of(write(folder / f"rows.{kind}", rows)) == rows


def test_json_lines_may_have_a_mark_at_the_start_blank_lines_and_no_last_line_feed(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = json_lines(ROWS, ascii_only=True).split(b"\n")[:-1]
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(lines))
    assert rows_of(file) == ROWS


def test_columns_and_labels_have_the_names_and_values_that_are_configured(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("review,sentiment\ngood,positive\nbad,negative\n", encoding="utf-8")
    given = {"text_column": "review", "label_column": "sentiment"}
    expected = [Example("good", 1), Example("bad", 0)]
    assert rows_of(file, **given, labels=["negative", "positive"]) == expected
    assert "rows.csv:2: sentiment must be 0 or 1, received 'positive'" in refusal(file, **given)


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ([1, 0, 1.0], [0, 1], [1, 0, 1]),
        ([True, False], [0, 1], [1, 0]),
        (["1", "0"], [0, 1], [1, 0]),
        ([4, 2], [2, 4], [1, 0]),
        (["neg", "pos"], ["neg", "pos"], [0, 1]),
    ],
)
def test_labels_are_compared_by_what_they_say(tmp_path, values, labels, expected):
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"text": "a", "label": value}) + "\n" for value in values]
    file.write_text("".join(rows), encoding="utf-8")
    assert [row.label for row in rows_of(file, labels=labels)] == expected


GOOD = b'{"text": "a", "label": 1}\n'

BAD_LINES = {
    'rows.jsonl:2: must be a JSON object on one line, received \'{"text": "cut o\'': (
        b'{"text": "cut o\n'
    ),
    "rows.jsonl:2: must be a JSON object on one line, received '[1, 2]'": b"[1, 2]\n",
    "rows.jsonl:2: text must be a string, received 7;": b'{"text": 7, "label": 1}\n',
    "rows.jsonl:2: text must be a string, received None;": b'{"text": null, "label": 1}\n',
    "rows.jsonl:2: text must be a string, received ['a'];": b'{"text": ["a"], "label": 1}\n',
    "rows.jsonl:2: must have the field 'text', received body;": b'{"body": ""}\n',
    "rows.jsonl:2: must have the field 'label', received text;": b'{"text": "a"}\n',
    "rows.jsonl:2: label must be 0 or 1, received 2;": b'{"text": "a", "label": 2}\n',
    "rows.jsonl:2: label must be 0 or 1, received [1];": b'{"text": "a", "label": [1]}\n',
    "rows.jsonl:2: text must be valid Unicode": b'{"text": "\\ud800", "label": 1}\n',
    "rows.jsonl:2: must be UTF-8, received the byte 0xff;": b'{"text": "\xff", "label": 1}\n',
    'rows.jsonl:2: must be a JSON object on one line, received \'{"text": "a", "label": 99': (
        b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n"
    ),
    "rows.jsonl:2: must be a JSON object on one line, received '[[[[": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("message", BAD_LINES)
def test_a_bad_json_line_is_named_by_file_and_line(tmp_path, message):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD + BAD_LINES[message] + GOOD)
    assert refusal(file).startswith(f"{tmp_path}/{message}")


BAD_CSV = {
    "rows.csv:4: must have as many fields as the header (2), received 3;": b"a,1,2\n",
    "rows.csv:4: must have as many fields as the header (2), received 1;": b"a\n",
    "rows.csv:4: must be a CSV record with commas and double quotes": b'"a" b,1\n',
    "rows.csv:4: must be UTF-8, received the byte 0xe9;": b"caf\xe9,1\n",
    "rows.csv:4: label must be 0 or 1, received '';": b"a,\n",
}


@pytest.mark.parametrize("message", BAD_CSV)
def test_a_bad_csv_record_is_named_by_the_line_that_it_begins_in(tmp_path, message):
    file = tmp_path / "rows.csv"
    file.write_bytes(b'text,label\n"two\nlines",1\n' + BAD_CSV[message])
    assert refusal(file).startswith(f"{tmp_path}/{message}")


def test_each_column_is_named_once(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text,text\na,b\n", encoding="utf-8")
    assert refusal(file).startswith(f"{file}: must name each column once, received 'text' twice")
    columns = [pyarrow.array([text]) for text in ("a", "b")]
    file = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=["text", "text"]), file)
    assert refusal(file).startswith(f"{file}: must name each column once, received 'text' twice")
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD + b'{"text": "a", "text": "b", "label": 1}\n')
    assert "rows.jsonl:2: must be a JSON object" in refusal(file)
    assert "(a name twice in one object)" in refusal(file)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.csv.gz"])
def test_a_file_of_nothing_has_no_rows(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"\n")
    assert rows_of(tmp_path / name) == []
    (tmp_path / name).write_bytes(b"")
    assert rows_of(tmp_path / name) == []


def test_names_that_hold_line_feeds_stay_on_the_line(tmp_path):
    file = tmp_path / "ro\nws.csv"
    file.write_text('"te\nxt",label\na,1\n', encoding="utf-8")
    assert r"there are te\nxt, label" in refusal(file)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("key", ["text_column", "label_column"])
def test_a_missing_column_is_refused_with_those_that_are_there(tmp_path, kind, key):
    file = write(tmp_path / f"rows.{kind}", ROWS)
    message = refusal(file, **{key: "body"})
    assert message.startswith(f"data.{key}: must name a column of {file}, received 'body'")
    assert "there are id, text, label; choose one with --" in message


@pytest.mark.parametrize("kept", [10, 60, -9, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, kept):
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(json_lines(ROWS * 40))[:kept])
    assert refusal(file).startswith(f"{file}: must be a whole gzip file, received one that breaks")


def test_a_file_that_is_no_gzip_file_is_refused(tmp_path):
    file = tmp_path / "rows.csv.gz"
    file.write_bytes(csv_text(ROWS))
    assert refusal(file).startswith(f"{file}: must be a whole gzip file")


@pytest.mark.parametrize("kept", [0, 10, -20])
def test_a_damaged_parquet_file_is_refused(tmp_path, kept):
    file = write(tmp_path / "rows.parquet", ROWS)
    file.write_bytes(file.read_bytes()[:kept])
    assert refusal(file).startswith(f"{file}: must be a whole Parquet file")


def test_a_parquet_row_is_named_by_its_position(tmp_path):
    file = tmp_path / "rows.parquet"
    datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": None, "label": 0}]).to_parquet(
        file
    )
    assert refusal(file).startswith(f"{file}, row 2: text must be a string, received None")


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.parquet"])
def test_a_missing_file_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(InputError, match=r"data\.source: the file must exist, received .*missing"):
        require_source(DataConfig(source=str(tmp_path / name)))


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=r"data\.source: must be a readable file"):
        require_source(DataConfig(source=str(tmp_path / "folder.jsonl")))
