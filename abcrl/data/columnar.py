"""Parquet and Arrow files of texts, through pyarrow: only the columns needed, batch by batch."""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet

from abcrl.config import InputError

from .tables import Problem, Row

# What it raises for a value that Python has none for: text that is no UTF-8 (pyarrow does not look
# at what it reads before that), a date out of range, an unknown time zone.
_UNREADABLE = (ValueError, OverflowError, KeyError, pyarrow.ArrowException)
# What pyarrow raises for a file that is damaged or of another kind.
_DAMAGED = (pyarrow.ArrowException, OSError)
_ARROW_FILE = b"ARROW1"


def open_columnar(
    path: Path, wanted: Container[str] | None
) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """Returns the names of all columns, and the rows, read as they are asked for.

    Args:
        path: A Parquet file, or an Arrow stream or file.
        wanted: Columns that suffice, of those that are there; None: all.

    Raises:
        InputError: The file cannot be read, now or when its rows are taken.
    """
    parquet_file = path.name.endswith(".parquet")
    open_batches = _open_parquet if parquet_file else _open_arrow
    kind = "a whole Parquet file" if parquet_file else "a whole Arrow stream or file"
    try:
        columns, batches = open_batches(path, wanted)
    except _DAMAGED as error:
        raise _damaged(path, kind, error) from None
    return columns, number_rows(_undamaged(batches, path, kind))


def number_rows(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[tuple[int, Row]]:
    """Yields the rows of batches, numbered from 1; a value that cannot be read is a problem."""
    number = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except _UNREADABLE:
            columns = zip(*map(_values, batch.columns), strict=True)
            rows = [dict(zip(batch.schema.names, values, strict=True)) for values in columns]
        for row in rows:
            number += 1
            yield number, row


def _values(column: pyarrow.Array) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except _UNREADABLE:
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> Any:  # noqa: ANN401 - whatever a column holds
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return Problem("must be UTF-8", f"the byte {error.object[error.start]:#04x}")
    except _UNREADABLE:
        return Problem("must hold values that can be read", f"one of type {scalar.type}")


def _open_parquet(
    path: Path, wanted: Container[str] | None
) -> tuple[list[str], Iterator[pyarrow.RecordBatch]]:
    file = parquet.ParquetFile(path)
    columns = file.schema_arrow.names
    return columns, file.iter_batches(columns=_selected(columns, wanted))


def _open_arrow(
    path: Path, wanted: Container[str] | None
) -> tuple[list[str], Iterator[pyarrow.RecordBatch]]:
    source = pyarrow.memory_map(str(path))
    beginning = source.read(len(_ARROW_FILE))
    source.seek(0)
    if beginning == _ARROW_FILE:
        file = ipc.open_file(source)
        columns = file.schema.names
        batches = (file.get_batch(index) for index in range(file.num_record_batches))
    else:
        stream = ipc.open_stream(source)
        columns, batches = stream.schema.names, iter(stream)
    selected = _selected(columns, wanted)
    return columns, (batch.select(selected) for batch in batches)


def _selected(columns: list[str], wanted: Container[str] | None) -> list[str]:
    return [name for name in columns if wanted is None or name in wanted]


def _undamaged(
    batches: Iterator[pyarrow.RecordBatch], path: Path, kind: str
) -> Iterator[pyarrow.RecordBatch]:
    try:
        yield from batches
    except _DAMAGED as error:
        raise _damaged(path, kind, error) from None


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return InputError(f"{path}: must be {kind} ({reason}); copy or write it again")
