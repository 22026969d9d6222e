"""Parquet files of texts, through pyarrow: only the columns that are needed, batch by batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from abcrl.config import DataConfig, InputError

from .records import Table

# What pyarrow raises for a file that is damaged or of another kind.
_DAMAGED = (pyarrow.ArrowException, OSError, UnicodeDecodeError)


def open_parquet_table(path: Path, config: DataConfig) -> Table:
    """Returns the rows of a Parquet file, read as they are asked for.

    Raises:
        InputError: The file cannot be read, now or when its rows are taken.
    """
    try:
        file = parquet.ParquetFile(path)
        columns = file.schema_arrow.names
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    wanted = [name for name in (config.text_column, config.label_column) if name in columns]
    return Table(str(path), _rows(file, wanted, path), in_lines=False, columns=columns)


def _rows(
    file: parquet.ParquetFile, columns: list[str], path: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return InputError(f"{path}: must be a whole Parquet file ({reason}); copy or write it again")
