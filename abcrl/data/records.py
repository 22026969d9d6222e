"""From the rows of a source to examples: the named columns, checked row by row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abcrl.config import DataConfig, InputError


@dataclass(frozen=True)
class Example:
    """One text; `label` is 1 (positive), 0 (negative) or None where labels are not read."""

    text: str
    label: int | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a source on their way in.

    Attributes:
        name: What messages call the source.
        rows: Number and values of each row. A number is what a person finds the row by: the line in
            a file of lines, else the position, from 1.
        in_lines: Whether the numbers are lines.
        columns: Names of the columns; None where every row has names of its own.
    """

    name: str
    rows: Iterable[tuple[int, Mapping[str, Any]]]
    in_lines: bool
    columns: Sequence[str] | None = None

    def at(self, number: int) -> str:
        """Returns where a row is, for messages."""
        return f"{self.name}:{number}" if self.in_lines else f"{self.name}, row {number}"


def read_examples(table: Table, config: DataConfig, *, labelled: bool) -> Iterator[Example]:
    """Yields the examples of a table.

    Args:
        table: Its rows.
        config: Names of the columns, spelling of the labels.
        labelled: Whether the label column is read; otherwise it need not exist.

    Raises:
        InputError: A column is missing, or a row cannot be used; names the row.
    """
    wanted = {"text_column": config.text_column}
    if labelled:
        wanted["label_column"] = config.label_column
    if table.columns is not None:
        _require_distinct(table, table.columns)
        _require_columns(table, wanted, table.columns)
    first = True
    for number, row in table.rows:
        if first and table.columns is None:
            _require_columns(table, wanted, list(row))
        first = False
        for column in wanted.values():
            if column not in row:
                raise InputError(
                    f"{table.at(number)}: must have the field {column!r}, received "
                    f"{_listed(list(row))}; add it or remove the row"
                )
        text = _text(row[config.text_column], config, table, number)
        label = _label(row[config.label_column], config, table, number) if labelled else None
        yield Example(text, label)


def _require_distinct(table: Table, columns: Sequence[str]) -> None:
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise InputError(
            f"{table.name}: must name each column once, received {repeated!r} twice; rename one"
        )


def _require_columns(table: Table, wanted: Mapping[str, str], columns: Sequence[str]) -> None:
    for key, column in wanted.items():
        if column not in columns:
            raise InputError(
                f"data.{key}: must name a column of {table.name}, received {column!r}, but there "
                f"are {_listed(columns)}; choose one with --{key.replace('_', '-')}"
            )


def _text(value: object, config: DataConfig, table: Table, number: int) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"{table.at(number)}: {config.text_column} must be a string, received {_short(value)}; "
            f"mend or remove the row"
        )
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        raise InputError(
            f"{table.at(number)}: {config.text_column} must be valid Unicode, received a lone "
            f"surrogate; mend or remove the row"
        ) from None
    return value


def _label(value: object, config: DataConfig, table: Table, number: int) -> int:
    # Files of lines know only strings; True equals 1.
    for meaning, spelling in enumerate(config.labels):
        if isinstance(value, int | float | str) and (
            value == spelling or str(value) == str(spelling)
        ):
            return meaning
    negative, positive = config.labels
    raise InputError(
        f"{table.at(number)}: {config.label_column} must be {negative!r} or {positive!r}, received "
        f"{_short(value)}; name the two values in data.labels, the negative one first, e.g. "
        f"[bad, good]"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown or "none"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
