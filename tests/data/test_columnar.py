"""Parquet and Arrow: the same texts as from lines, and what is damaged is named."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from abcrl.config import InspectConfig
from abcrl.data import Example
from abcrl.data.files import open_file
from abcrl.tools.inspection import inspect_source
from abcrl.tools.surveyed_columns import Column
from tests.data.files import ROWS, dataset_of, refusal, rows_of, write, write_arrow


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_is_read_as_stream_and_as_file(tmp_path, stream):
    file = tmp_path / "rows.arrow"
    write_arrow(file, dataset_of(ROWS).data.table, stream=stream)
    assert rows_of(file) == ROWS


def test_what_datasets_keeps_in_its_cache_is_read(tmp_path):
    writing = dataset_of(ROWS)
    writing.save_to_disk(tmp_path / "saved")
    [file] = (tmp_path / "saved").glob("*.arrow")
    assert rows_of(file) == ROWS


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_only_the_wanted_columns_are_read_and_all_are_named(tmp_path, kind):
    table = open_file(write(tmp_path / f"rows.{kind}", ROWS), {"text", "absent"})
    assert table.columns == ["id", "text", "label"]
    assert [row for _, row in table.rows] == [{"text": row.text} for row in ROWS]


@pytest.mark.parametrize("kept", [0, 10, -20])
@pytest.mark.parametrize("kind", ["Parquet file", "Arrow stream or file"])
def test_a_damaged_file_of_columns_is_refused(tmp_path, kept, kind):
    file = write(tmp_path / f"rows.{kind.split()[0].lower()}", ROWS)
    file.write_bytes(file.read_bytes()[:kept])
    assert refusal(file).startswith(f"{file}: must be a whole {kind}")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_row_that_is_no_utf_8_is_named_and_the_others_are_read(tmp_path, kind):
    texts = pyarrow.array([b"a", b"\xff", b"c"]).view(pyarrow.string())
    table = pyarrow.table({"text": texts, "label": pyarrow.array([1, 0, 1])})
    file = tmp_path / f"rows.{kind}"
    if kind == "arrow":
        write_arrow(file, table, stream=False)
    else:
        parquet.write_table(table, file)
    assert refusal(file).startswith(f"{file}, row 2: must be UTF-8, received the byte 0xff")
    dropped = rows_of(file, rows={"bad": "drop"})
    assert dropped == [Example("a", 1), Example("c", 1)]


def test_a_parquet_row_is_named_by_its_position(tmp_path):
    file = tmp_path / "rows.parquet"
    datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": None, "label": 0}]).to_parquet(
        file
    )
    assert refusal(file).startswith(f"{file}, row 2: text must be a string, received None")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([2**39, 0], pyarrow.timestamp("s")),
        ([0, 1], pyarrow.timestamp("s", tz="Nowhere/Nothing")),
    ],
)
def test_a_value_that_cannot_be_read_is_none_of_the_others_trouble(tmp_path, kind, values, type_):
    when = pyarrow.array(values).cast(type_)
    table = pyarrow.table({"text": ["a", "b"], "label": [1, 0], "when": when})
    file = tmp_path / f"rows.{kind}"
    if kind == "arrow":
        write_arrow(file, table, stream=False)
    else:
        parquet.write_table(table, file)
    assert rows_of(file) == [Example("a", 1), Example("b", 0)]
    [column] = [one for one in inspect_columns(file) if one.name == "when"]
    assert "unreadable" in column.kinds
    assert "must hold values that can be read, received one of type" in refusal(
        file, columns={"text": "when"}
    )


def inspect_columns(file: Path) -> Sequence[Column]:
    config = InspectConfig.model_validate({"data": {"source": str(file)}})
    return inspect_source(config).columns
