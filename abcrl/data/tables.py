"""The rows of a source on their way in, and what is wrong with one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be read.

    Attributes:
        rule: What must be so.
        received: What is so instead; "": the rule says it.
        remedy: What to do.
    """

    rule: str
    received: str = ""
    remedy: str = "mend or remove the row"

    def __str__(self) -> str:
        """The problem in a line, without the place."""
        received = f", received {self.received}" if self.received else ""
        return f"{self.rule}{received}; {self.remedy}"


class BadRowError(ValueError):
    """A row cannot be read."""

    def __init__(self, rule: str, received: object = "", remedy: str = "") -> None:
        self.problem = Problem(rule, str(received), remedy or Problem.remedy)
        super().__init__(str(self.problem))


Row = Mapping[str, Any] | Problem
"""The values of a row, by the names of their columns; or why it has none."""


@dataclass(frozen=True)
class Table:
    """The rows of a source on their way in.

    Attributes:
        name: What messages call the source.
        rows: Number and values of each row, to be taken once. A number is what a person finds the
            row by: the line in a file of lines, else the position, from 1.
        in_lines: Whether the numbers are lines.
        columns: Names of the columns; None where every row has names of its own.
        key: Configuration key that names the source.
    """

    name: str
    rows: Iterable[tuple[int, Row]]
    in_lines: bool
    columns: Sequence[str] | None = None
    key: str = "data.source"

    def at(self, number: int) -> str:
        """Returns where a row is, for messages."""
        return f"{self.name}:{number}" if self.in_lines else f"{self.name}, row {number}"

    def place(self, number: int) -> str:
        """Returns where a row is, in short."""
        name = self.name.rpartition("/")[2]
        return f"{name}:{number}" if self.in_lines else f"{name} row {number}"

    def with_columns(self) -> "Table":
        """Returns the table with columns: where it names none, those of its first readable row.

        They stay None where no row can be read.
        """
        if self.columns is not None:
            return self
        rows, begun = iter(self.rows), []
        for number, row in rows:
            begun.append((number, row))
            if not isinstance(row, Problem):
                break
        first = begun[-1][1] if begun else Problem("")
        columns = None if isinstance(first, Problem) else list(first)
        return Table(self.name, chain(begun, rows), self.in_lines, columns, self.key)


def short(value: object) -> str:
    """Returns a value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: Sequence[str]) -> str:
    """Returns names for messages."""
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown or "none"
