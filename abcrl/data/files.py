"""Local files of texts: JSON lines, CSV and plain text, each also gzipped; Parquet and Arrow.

Our own loops over the lines, so that a bad one is named by file and line. Lines end at a line feed
and nowhere else: texts may hold U+2028 or U+0085, at which `str.splitlines` would break them.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from abcrl.config import InputError
from abcrl.config.data import FILE_SUFFIXES

from .tables import LONG, Blank, Problem, Row, Table, short

_BOM = b"\xef\xbb\xbf"
_FLAGS = {"data.source": "--dataset", "data.validation": "--validation"}

TEXT_COLUMN = "text"
"""What the one column of a file of plain text is called."""


def require_file(path: Path, key: str = "data.source") -> None:
    """Refuses what is no file that can be read, without reading all of it.

    Args:
        path: The file.
        key: Configuration key to name.

    Raises:
        InputError: It is missing, no file, or of no known kind.
    """
    if not path.name.endswith(FILE_SUFFIXES):
        raise InputError(
            f"{key}: must end in one of {', '.join(FILE_SUFFIXES)}, received {path}; write it anew"
        )
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise InputError(
            f"{key}: the file must exist, received {path}; check the path given to {_FLAGS[key]}"
        ) from None
    except OSError as error:
        raise InputError(
            f"{key}: must be a readable file, received {path} ({error.strerror}); check the "
            f"path given to {_FLAGS[key]}"
        ) from None


def open_file(
    path: Path, wanted: Container[str] | None = None, *, key: str = "data.source"
) -> Table:
    """Returns the rows of a file, read as they are asked for.

    Args:
        path: The file.
        wanted: Columns that suffice, of those that are there, where leaving others out saves
            reading them; None: all.
        key: Configuration key that names the file.

    Raises:
        InputError: The file cannot be read, now or when its rows are taken.
    """
    require_file(path, key)
    name = path.name
    if name.endswith((".parquet", ".arrow")):
        from .columnar import open_columnar  # its library is slow to import

        columns, rows = open_columnar(path, wanted)
        return Table(str(path), rows, in_lines=False, columns=columns, key=key)
    if name.endswith((".csv", ".csv.gz")):
        spans: dict[int, int] = {}
        records = _csv_records(path, spans)
        header = _header(records, path)
        if header is None:  # nothing at all: no rows
            return Table(str(path), (), in_lines=True, key=key)
        rows = _csv_rows(records, header, spans)
        return Table(str(path), rows, in_lines=True, columns=header, key=key, spans=spans)
    if name.endswith((".txt", ".txt.gz")):
        return Table(str(path), _text_rows(path), in_lines=True, columns=[TEXT_COLUMN], key=key)
    return Table(str(path), _json_rows(path), in_lines=True, key=key)


def _text_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, raw in _lines(path):
        text = _decode(raw)
        if isinstance(text, str):
            yield number, {TEXT_COLUMN: text.removesuffix("\n").removesuffix("\r")}
        else:
            yield number, text


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, raw in _lines(path):
        line = _decode(raw)
        if isinstance(line, Problem):
            yield number, line
        else:
            yield number, Blank() if line.isspace() else _json_row(line)


def _json_row(line: str) -> Row:
    reason = ""
    try:
        row = _JSON.decode(line)
    except _NameTwiceError as twice:
        return Problem("must name each field once", f"{twice} twice", "mend or remove the line")
    except (ValueError, RecursionError) as error:  # ValueError: also of a number too long
        reason = f" ({getattr(error, 'msg', str(error).splitlines()[0])})"
    else:
        if isinstance(row, dict):
            return row
    return Problem(
        "must be a JSON object on one line",
        _beginning(line) + reason,
        "mend or remove the line",
    )


class _NameTwiceError(ValueError):
    """An object of JSON holds two values of one name."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _NameTwiceError(short(next(name for name in names if names.count(name) > 1)))
    return values


_JSON = json.JSONDecoder(object_pairs_hook=_distinct)


def _header(records: Iterator[tuple[int, list[str] | Problem]], path: Path) -> list[str] | None:
    filled = (record for record in records if not isinstance(record[1], Blank))
    number, header = next(filled, (0, None))
    if isinstance(header, Problem):
        raise InputError(f"{path}:{number}: {header}")
    return header


def _csv_records(path: Path, spans: dict[int, int]) -> Iterator[tuple[int, list[str] | Problem]]:
    """Yields the line that each record begins in, and its fields; the header comes first.

    In `spans` it notes how many lines a record takes, where that is not one.
    """
    csv.field_size_limit(sys.maxsize)  # the module's own limit of 128 KiB is shorter than a book
    undecoded: list[tuple[int, Problem]] = []
    reader = csv.reader(_decoded(path, undecoded), strict=True)
    fields: list[str] | Problem | None = []
    while fields is not None:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            rule = f"must be a CSV record with commas and double quotes ({error})"
            fields = Problem(rule, remedy="mend or remove the record")
        lines = reader.line_num + 1 - number
        if lines > 1:
            spans[number] = lines
        if undecoded:
            yield undecoded[0]
            undecoded.clear()
        elif isinstance(fields, Problem) and lines > 1:
            yield number, replace(fields, received=f"one of {lines} lines")
        elif fields is not None:
            yield number, fields or Blank()


def _decoded(path: Path, undecoded: list[tuple[int, Problem]]) -> Iterator[str]:
    """Yields the text of each line, with marks in place of what is no UTF-8, and notes those."""
    for number, raw in _lines(path):
        text = _decode(raw)
        if isinstance(text, Problem):
            undecoded.append((number, text))
            yield raw.decode(errors="replace")
        else:
            yield text


def _csv_rows(
    records: Iterator[tuple[int, list[str] | Problem]], header: list[str], spans: dict[int, int]
) -> Iterator[tuple[int, Row]]:
    for number, fields in records:
        if isinstance(fields, Problem):
            yield number, fields
        elif len(fields) != len(header):
            over = f" over {spans[number]} lines" if number in spans else ""
            rule = f"must have as many fields as the header ({len(header)})"
            yield number, Problem(rule, f"{len(fields)}{over}", "mend or remove the record")
        else:
            if spans.get(number, 0) <= LONG:  # nothing to be told
                spans.pop(number, None)
            yield number, dict(zip(header, fields, strict=True))


def _decode(raw: bytes) -> str | Problem:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte = f"the byte {raw[error.start]:#04x}"
        return Problem("must be UTF-8", byte, "convert the file or mend the line")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields number and content of each line, the line feed included."""
    number = 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            for raw in file:
                number += 1
                yield number, raw.removeprefix(_BOM) if number == 1 else raw
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
