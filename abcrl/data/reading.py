"""One reading of a source: its records one at a time; what is not used is counted, never lost."""

import json
from collections.abc import Iterator, Sequence

from abcrl.config import DataConfig, InputError, RowsConfig

from .formats import Layout, Use, find_layout
from .left_out import PLACES, Tally, in_rows
from .records import Pair, Record
from .rows import Parse, make_parser
from .selection import make_selection
from .tables import BadRowError, Problem, Row, Table
from .values import UnusedRow

COPIES = "copies of an earlier row"
"""Why a copy is left out."""

HELD_OUT = "held out by data.validation"
"""Why a row is left out that the held-out data hold too."""

CONTRADICTORY = "contradictory to an earlier one"
"""A text with the other label, or a pair the other way round."""


class Reading:
    """One reading of a table: its records, and what was not used of it.

    Attributes:
        table: The table, with its columns.
        layout: What its rows are; None where it has no row that can be read.
        bad: Rows that cannot be read, by the rule that they break.
    """

    def __init__(
        self,
        table: Table,
        config: DataConfig,
        use: Use,
        left_out: Tally,
        contradictory: Tally,
    ) -> None:
        """Looks at the columns and reads no more than the first row.

        Args:
            table: The rows.
            config: Format and columns, and which rows are used.
            use: What they are read for.
            left_out: Where rows that are not used are counted.
            contradictory: Where records are counted that say the opposite of an earlier one; they
                are used.

        Raises:
            InputError: A column is missing, or the format is of no use.
        """
        self.table = table.with_columns()
        self.layout: Layout | None = None
        if self.table.columns is not None:
            self.layout = find_layout(self.table, config, use)
        self._config = config
        self._use = use
        self._left_out = left_out
        self._contradictory = contradictory
        self.bad = Tally()
        self._prompted: bool | None = None
        self._first_bad: Problem | None = None
        self._bad_numbers: list[int] = []

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yields the records that are used, with the numbers of their rows; to be taken once.

        Raises:
            InputError: After the last row, where some cannot be read and `rows.bad` says refuse;
                or the source breaks off.
        """
        parse = None if self.layout is None else make_parser(self.layout, self._config)
        refused = make_selection(self._config.rows)
        copies = _Copies(self.layout, self._config.rows)
        opposites = _Opposites()
        mixed = self.layout is not None and self.layout.splits
        for number, row in self.table.rows:
            try:
                record = _parsed(row, parse)
                if mixed:
                    self._require_like_first(record)
                reason = refused(record) or copies.reason(row)
            except BadRowError as error:
                self._add_bad(number, error.problem)
                continue
            except UnusedRow as unused:
                reason = str(unused)
            if reason:
                self._left_out.add(reason, self.table.place(number))
                continue
            if opposites.met(record):
                self._contradictory.add(CONTRADICTORY, self.table.place(number))
            yield number, record
        self._refuse_bad()

    def _add_bad(self, number: int, problem: Problem) -> None:
        place = self.table.place(number)
        self.bad.add(problem.rule, place)
        if self._config.rows.bad == "drop":
            self._left_out.add(problem.rule, place)
        else:
            self._first_bad = self._first_bad or problem
            self._bad_numbers.append(number)

    def _refuse_bad(self) -> None:
        if self._first_bad is None:
            return
        first, *others = self._bad_numbers
        more = ""
        if others:
            kind = ("line" if self.table.in_lines else "row") + ("s" if others[1:] else "")
            shown = ", ".join(map(str, others[:PLACES])) + (", ..." if others[PLACES:] else "")
            more = f" ({in_rows(len(others))} more: {kind} {shown})"
        raise InputError(
            f"{self.table.at(first)}: {self._first_bad}, or leave such rows out with --set "
            f"data.rows.bad=drop{more}"
        )

    def _require_like_first(self, record: Record) -> None:
        """Where no column gives the prompt, all pairs have one or none: as the first has."""
        if self._prompted is None:
            self._prompted = record.prompt is not None
        if self._prompted != (record.prompt is not None):
            first, this = ("a", "none") if self._prompted else ("no", "one")
            raise BadRowError(f"must begin with {first} prompt, as the first row does", this)


def require_some(records: Sequence[Record], table: Table, left_out: Tally) -> None:
    """Refuses a source of which nothing is used.

    Raises:
        InputError: It says why.
    """
    if not records:
        reasons = ", ".join(left_out.findings())
        raise InputError(
            f"{table.key}: must hold at least two texts, received {table.name} with none"
            f"{f' that is used ({reasons})' if reasons else ''}; give another"
        )


def require_like(heldout: Reading, source: Reading) -> None:
    """Refuses held-out data of another format than that of the source.

    Raises:
        InputError: It names both.
    """
    there, here = heldout.layout, source.layout
    if there is not None and here is not None and there.format != here.format:
        raise InputError(
            f"data.validation: must hold rows of the format of data.source ({here.format}), "
            f"received {heldout.table.name} of {there.format}; give another, or name the columns "
            f"of both alike"
        )


class _Copies:
    """Recognises rows that are alike in all columns that the configuration names."""

    def __init__(self, layout: Layout | None, rows: RowsConfig) -> None:
        self._columns = layout.known if layout is not None and rows.duplicates == "drop" else ()
        self._seen: set[tuple[object, ...]] = set()

    def reason(self, row: Row) -> str:
        if not self._columns or isinstance(row, Problem):
            return ""
        values = tuple([row.get(name) for name in self._columns])
        try:
            copy = values in self._seen
        except TypeError:  # turns are lists, and those have no hash
            values = (json.dumps(values, sort_keys=True, default=str),)
            copy = values in self._seen
        self._seen.add(values)
        return COPIES if copy else ""


class _Opposites:
    """Recognises a text with the other label, and a pair the other way round."""

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}
        self._pairs: set[tuple[str, str, str]] = set()

    def met(self, record: Record) -> bool:
        if isinstance(record, Pair):
            prompt = "" if record.prompt is None else record.prompt.key
            self._pairs.add((prompt, record.chosen, record.rejected))
            return (prompt, record.rejected, record.chosen) in self._pairs
        if record.label is None:
            return False
        return self._labels.setdefault(record.content, record.label) != record.label


def _parsed(row: Row, parse: Parse | None) -> Record:
    if isinstance(row, Problem) or parse is None:
        problem = row if isinstance(row, Problem) else Problem("must be readable")
        raise BadRowError(problem.rule, problem.received, problem.remedy)
    return parse(row)
