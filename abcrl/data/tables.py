"""The rows of a source on their way in, and what is wrong with one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Blank(Problem):
    """A line that holds no row at all; it is left out and no reason to refuse the others."""

    rule: str = "must hold a row"


class BadRowError(ValueError):
    """A row cannot be read."""

    def __init__(self, rule: str, received: object = "", remedy: str = "") -> None:
        self.problem = Problem(rule, str(received), remedy or Problem.remedy)
        super().__init__(str(self.problem))

    @classmethod
    def of(cls, problem: Problem) -> "BadRowError":
        """Returns the error of a problem."""
        return cls(problem.rule, problem.received, problem.remedy)


Row = Mapping[str, Any] | Problem
"""The values of a row, by the names of their columns; or why it has none.

A value that cannot be read is a `Problem` too.
"""

LONG = 100
"""Records of more lines are told: a quote that is never closed swallows lines."""


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
        spans: How many lines a record takes, by its number, as far as rows were taken: of those
            that are bad and take several, and of those that take more than `LONG`.
    """

    name: str
    rows: Iterable[tuple[int, Row]]
    in_lines: bool
    columns: Sequence[str] | None = None
    key: str = "data.source"
    spans: Mapping[int, int] = field(default_factory=dict)

    def at(self, number: int) -> str:
        """Returns where a row is, for messages."""
        return f"{self.name}:{number}" if self.in_lines else f"{self.name}, row {number}"

    def place(self, number: int) -> str:
        """Returns where a row is, in short."""
        name = self.name.rpartition("/")[2]
        if number in self.spans:
            return f"{name}:{number}-{number + self.spans[number] - 1}"
        return f"{name}:{number}" if self.in_lines else f"{name} row {number}"


def short(value: object) -> str:
    """Returns a value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: Sequence[str]) -> str:
    """Returns names for messages."""
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown or "none"
