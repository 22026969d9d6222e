"""What tests of files share: the same rows in every kind of file, and what is read of them."""

import csv
import gzip
import io
import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from pyarrow import ipc

from abcrl.config import DataConfig, InputError
from abcrl.data import Example
from abcrl.data.files import open_file
from abcrl.data.formats import LABELLED
from abcrl.data.left_out import Tallies
from abcrl.data.reading import Reading

ROWS = [
    Example("A line\u2028that is one line\u0085still, and\x0bhere\x1c too.", 1),
    Example('Commas, "quotes",\nline feeds and\r\ncarriage returns', 0),
    Example("émotion 🎬 电影 فيلم", 1),
    Example("123", 0),
    Example("null", 1),
]


KEPT = {"duplicates": "keep"}


def rows_of(path: Path, **options: object) -> list[Example]:
    config = DataConfig.model_validate({"source": str(path), "rows": KEPT, **options})
    reading = Reading(open_file(path), config, LABELLED, Tallies())
    records = [record for _, record in reading.records()]
    return [record for record in records if isinstance(record, Example)]


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


def dataset_of(rows: list[Example]) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"id": 1, "text": row.text, "label": row.label} for row in rows]
    )


def write_arrow(path: Path, table: pyarrow.Table, *, stream: bool) -> None:
    new = ipc.new_stream if stream else ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


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
            dataset_of(rows).to_parquet(path)
        case "arrow":
            write_arrow(path, dataset_of(rows).data.table, stream=True)
    return path
