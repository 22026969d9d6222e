"""What the columns of a source hold, seen while its rows go by."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from abcrl.data.tables import Problem, Row, Table


@dataclass(frozen=True)
class Column:
    """One column of a source.

    Attributes:
        name: Its name.
        kinds: Types of its values, the most frequent first; nothing is none of them.
        empty: Share of the rows that have none, nothing but white space, or an empty list.
    """

    name: str
    kinds: tuple[str, ...]
    empty: float


class ColumnSurvey:
    """Counts what goes by.

    Attributes:
        count: Number of rows, those that cannot be read included.
        labels: The values of the label column, by the numbers of their rows.
    """

    def __init__(self, label: str) -> None:
        """Takes the name of the label column."""
        self.count = 0
        self.labels: dict[int, object] = {}
        self._label = label
        self._readable = 0
        self._kinds: dict[str, Counter[str]] = {}
        self._filled: Counter[str] = Counter()

    def watch(self, table: Table) -> Table:
        """Returns the table, of which every row that is taken is counted."""
        return replace(table, rows=self._passing(table))

    def columns(self, named: Sequence[str] | None) -> list[Column]:
        """Returns what was seen: the named columns first, then what single rows had beside them."""
        return [
            Column(
                name,
                tuple(kind for kind, _ in self._kinds.get(name, Counter()).most_common()),
                1 - self._filled[name] / max(1, self._readable),
            )
            for name in dict.fromkeys([*(named or ()), *self._kinds])
        ]

    def _passing(self, table: Table) -> Iterator[tuple[int, Row]]:
        for number, row in table.rows:
            self.count += 1
            if not isinstance(row, Problem):
                self._readable += 1
                for name, value in row.items():
                    self._note(name, value)
                if self._label in row:
                    self.labels[number] = row[self._label]
            yield number, row

    def _note(self, name: str, value: object) -> None:
        if _is_empty(value):
            return
        self._filled[name] += 1
        self._kinds.setdefault(name, Counter())[_kind(value)] += 1


def _is_empty(value: object) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value == [] or value == {}


def _kind(value: object) -> str:
    if isinstance(value, list):
        turns = isinstance(value[0], dict) and {"role", "content"} <= value[0].keys()
        return "turns" if turns else "list"
    kinds: tuple[tuple[type, str], ...] = (
        (str, "text"),
        (bool, "true/false"),
        (int, "whole number"),
        (float, "number"),
        (dict, "object"),
        (Problem, "unreadable"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
