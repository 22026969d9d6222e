"""Local files of texts: JSON lines, CSV (both also gzipped) and Parquet.

Our own loops over the lines, so that a bad one is named by file and line. Lines end at a line feed
and nowhere else: texts may hold U+2028 or U+0085, at which `str.splitlines` would break them.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from abcrl.config import DataConfig, InputError
from abcrl.config.data import FILE_SUFFIXES

from .records import Table

_BOM = b"\xef\xbb\xbf"

Row = tuple[int, dict[str, Any]]


def require_file(path: Path) -> None:
    """Refuses what is no file that can be read, without reading all of it.

    Raises:
        InputError: It is missing, no file, or of no known kind.
    """
    if not path.name.endswith(FILE_SUFFIXES):
        raise InputError(
            f"data.source: must end in one of {', '.join(FILE_SUFFIXES)}, received {path}"
        )
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise InputError(
            f"data.source: the file must exist, received {path}; check the path given to --dataset"
        ) from None
    except OSError as error:
        raise InputError(
            f"data.source: must be a readable file, received {path} ({error.strerror}); check the "
            f"path given to --dataset"
        ) from None


def open_table(path: Path, config: DataConfig) -> Table:
    """Returns the rows of a file, read as they are asked for.

    Raises:
        InputError: The file cannot be read, now or when its rows are taken.
    """
    require_file(path)
    name = path.name
    if name.endswith(".parquet"):
        from .parquet import open_parquet_table  # its library is slow to import

        return open_parquet_table(path, config)
    if name.endswith((".csv", ".csv.gz")):
        rows = _csv_rows(path)
        _, header = next(rows, (0, None))
        if header is None:  # nothing at all, not even a header: no rows
            return Table(str(path), (), in_lines=True)
        named = _named(rows, header, path)
        return Table(str(path), named, in_lines=True, columns=header)
    return Table(str(path), _json_rows(path), in_lines=True)


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:  # ValueError: also of a number too long
            reason = getattr(error, "msg", str(error).splitlines()[0])
            raise InputError(
                f"{path}:{number}: must be a JSON object on one line, received "
                f"{_beginning(line)} ({reason}); mend or remove the line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(
                f"{path}:{number}: must be a JSON object on one line, received "
                f"{_beginning(line)}; mend or remove the line"
            )
        yield number, row


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name twice in one object")
    return values


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line that each record begins in, and its fields; the header comes first."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit of 128 KiB is shorter than a book
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}:{number}: must be a CSV record with commas and double quotes ({error}); "
                f"mend or remove the record"
            ) from None
        if fields:
            yield number, fields


def _named(rows: Iterator[tuple[int, list[str]]], header: list[str], path: Path) -> Iterator[Row]:
    for number, fields in rows:
        if len(fields) != len(header):
            raise InputError(
                f"{path}:{number}: must have as many fields as the header ({len(header)}), "
                f"received {len(fields)}; mend or remove the record"
            )
        yield number, dict(zip(header, fields, strict=True))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line, the line feed included."""
    number = 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            for raw in file:
                number += 1
                text = raw.removeprefix(_BOM) if number == 1 else raw
                yield number, text.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}:{number}: must be UTF-8, received the byte {error.object[error.start]:#04x}; "
            f"convert the file or mend the line"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: must be a whole gzip file, received one that breaks after line {number} "
            f"({str(error).rstrip('.')}); copy or download it again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: must be readable, received: {error.strerror}") from None


def _beginning(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 40 else text[:37] + "...")
