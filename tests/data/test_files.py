"""Local files: every format gives the same texts, and a bad row is named by file and line."""

import gzip
import json

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from abcrl.config import DataConfig, InputError
from abcrl.data import Example, require_source
from abcrl.data.files import open_file
from tests.data.files import ROWS, csv_text, json_lines, refusal, rows_of, write


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet", "arrow"])
def test_every_format_gives_the_same_texts(tmp_path, kind):
    assert rows_of(write(tmp_path / f"rows.{kind}", ROWS)) == ROWS


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(), min_size=1, max_size=8))
def test_any_text_survives_json_lines_and_csv(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    rows = [Example(text, number % 2) for number, text in enumerate(texts)]
    for kind in ("jsonl", "csv.gz"):
        table = open_file(write(folder / f"rows.{kind}", rows))
        read = [row for _, row in table.rows]
        assert [row["text"] for row in read if isinstance(row, dict)] == texts


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text().filter(lambda text: "\n" not in text), min_size=1, max_size=8))
def test_any_line_survives_plain_text(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("any") / "rows.txt"
    file.write_bytes("\n".join([*texts, ""]).encode())
    read = [row for _, row in open_file(file).rows]
    # A file may have been written where lines end with a carriage return too.
    expected = [text.removeprefix("\ufeff") for text in texts[:1]] + texts[1:]
    assert read == [{"text": text.removesuffix("\r")} for text in expected]


@pytest.mark.parametrize("name", ["rows.txt", "rows.txt.gz"])
def test_each_line_of_plain_text_is_a_text(tmp_path, name):
    content = "one\u2028 text\r\n\n two\tand\x0c \nthree".encode()
    packed = gzip.compress(content) if name.endswith(".gz") else content
    (tmp_path / name).write_bytes(packed)
    table = open_file(tmp_path / name)
    assert table.columns == ["text"]
    texts = [(number, row["text"]) for number, row in table.rows if isinstance(row, dict)]
    assert texts == [(1, "one\u2028 text"), (2, ""), (3, " two\tand\x0c "), (4, "three")]


def test_json_lines_may_have_a_mark_at_the_start_blank_lines_and_no_last_line_feed(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = json_lines(ROWS, ascii_only=True).split(b"\n")[:-1]
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n\n".join(lines))
    assert rows_of(file) == ROWS


def test_columns_and_labels_have_the_names_and_values_that_are_configured(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("review,sentiment\ngood,positive\nbad,negative\n", encoding="utf-8")
    given = {"columns": {"text": "review", "label": "sentiment"}}
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
    "rows.csv:5: must be UTF-8, received the byte 0xe9;": b'"two\ncaf\xe9 lines",1\n',
    "rows.csv:6: must be a CSV record with commas": b'a,1\nb,0\n"open,1\n',
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
    assert "rows.jsonl:2: must name each field once, received 'text' twice;" in refusal(file)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.csv.gz"])
def test_a_file_of_nothing_has_no_rows(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"\n")
    assert rows_of(tmp_path / name) == []
    (tmp_path / name).write_bytes(b"")
    assert rows_of(tmp_path / name) == []


def test_names_that_hold_line_feeds_stay_on_the_line(tmp_path):
    file = tmp_path / "ro\nws.csv"
    file.write_text('"te\nxt",label\na,1\n', encoding="utf-8")
    assert r"received te\nxt, label; say which" in refusal(file)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("key", ["text", "label"])
def test_a_missing_column_is_refused_with_those_that_are_there(tmp_path, kind, key):
    file = write(tmp_path / f"rows.{kind}", ROWS)
    message = refusal(file, columns={key: "body"})
    assert message.startswith(f"data.columns.{key}: must name a column of {file}, received 'body'")
    assert f"there are id, text, label; choose one with --{key}-column" in message


@pytest.mark.parametrize("kept", [10, 60, -9, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, kept):
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(json_lines(ROWS * 40))[:kept])
    assert refusal(file).startswith(f"{file}: must be a whole gzip file, received one that breaks")


def test_a_file_that_is_no_gzip_file_is_refused(tmp_path):
    file = tmp_path / "rows.csv.gz"
    file.write_bytes(csv_text(ROWS))
    assert refusal(file).startswith(f"{file}: must be a whole gzip file")


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.parquet"])
def test_a_missing_file_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(InputError, match=r"data\.source: the file must exist, received .*missing"):
        require_source(DataConfig(source=str(tmp_path / name)))


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=r"data\.source: must be a readable file"):
        require_source(DataConfig(source=str(tmp_path / "folder.jsonl")))


def test_a_missing_held_out_file_is_refused_by_its_own_name(tmp_path):
    source = write(tmp_path / "rows.jsonl", ROWS)
    config = DataConfig(source=str(source), validation=str(tmp_path / "absent.csv"))
    with pytest.raises(InputError, match=r"data\.validation: the file must exist") as refused:
        require_source(config)
    assert str(refused.value).endswith("check the path given to --validation")
