"""One reading of a source: its records one at a time; what is not used is counted, never lost."""

import json
from collections.abc import Iterator, Sequence

from abcrl.config import DataConfig, InputError, RowsConfig

from .asked import asked_by_row
from .formats import Layout, Use, find_layout, with_columns
from .left_out import PLACES, Tallies, in_rows
from .records import Pair, Record
from .rows import Parse, make_parser
from .selection import make_selection
from .tables import LONG, BadRowError, Blank, Problem, Row, Table
from .values import UnusedRow

COPIES = "copies of an earlier row"
"""Why a copy is left out."""

CONTRADICTORY = "contradictory to an earlier one"
"""A text with the other label, or a pair the other way round."""

MANY_LINES = f"of more than {LONG} lines, as where a quote is missing"
"""A record that may have swallowed others."""

BLANK_LINE = "blank line"
"""Why a line is left out that holds no row."""


class Reading:
    """One reading of a table: its records, and what was not used of it.

    Attributes:
        table: The table, with its columns.
        layout: What its rows are; None where it has no row that can be read.
        tallies: Where rows are counted that are not used, or of which something is to be known.
        prompted: Whether its records have prompts, as the first one has; None before that.
    """

    def __init__(self, table: Table, config: DataConfig, use: Use, tallies: Tallies) -> None:
        """Looks at the columns and reads no more than the first rows.

        Args:
            table: The rows.
            config: Format and columns, and which rows are used.
            use: What they are read for.
            tallies: Where rows are counted.

        Raises:
            InputError: A column is missing, or the format is of no use.
        """
        self.table = with_columns(table, config, use)
        self.layout: Layout | None = None
        self._parse: Parse | None = None
        if self.table.columns is not None:
            self.layout = find_layout(self.table, config, use)
            self._parse = make_parser(self.layout, config)
        self._config = config
        self.tallies = tallies
        self.prompted: bool | None = None
        self._first_bad: Problem | None = None
        self._bad_numbers: list[int] = []

    def records(self, asked: set[str] | None = None) -> Iterator[tuple[int, Record]]:
        """Yields the records that are used, with the numbers of their rows; to be taken once.

        Args:
            asked: Where is put what the rows ask, of those that are not used too.

        Raises:
            InputError: After the last row, where some cannot be read and `rows.bad` says refuse;
                or the source breaks off.
        """
        refused = make_selection(self._config.rows)
        copies = _Copies(self.layout, self._config.rows)
        opposites = _Opposites()
        for number, row in self.table.rows:
            if asked is not None and self.layout is not None:
                asked.update(asked_by_row(row, self.layout))
            try:
                record = self._parsed(row)
                reason = refused(record) or copies.reason(row)
            except BadRowError as error:
                self._add_bad(number, error.problem)
                continue
            except UnusedRow as unused:
                reason = str(unused)
            if reason:
                self.tallies.left_out.add(reason, self.table.place(number))
                continue
            self._note(number, opposites.met(record))
            yield number, record
        self._refuse_bad()

    def _parsed(self, row: Row) -> Record:
        if isinstance(row, Blank):
            raise UnusedRow(BLANK_LINE)
        if isinstance(row, Problem) or self._parse is None:
            raise BadRowError.of(row if isinstance(row, Problem) else Problem("must be readable"))
        record = self._parse(row)
        self._require_like_first(record)
        return record

    def _note(self, number: int, contradictory: bool) -> None:  # noqa: FBT001 - said by its name
        place = self.table.place(number)
        if contradictory:
            self.tallies.kept.add(CONTRADICTORY, place)
        if number in self.table.spans:
            self.tallies.kept.add(MANY_LINES, place)

    def _add_bad(self, number: int, problem: Problem) -> None:
        place = self.table.place(number)
        self.tallies.bad.add(problem.rule, place)
        if self._config.rows.bad == "drop":
            self.tallies.left_out.add(problem.rule, place)
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
        if self.prompted is None:
            self.prompted = record.prompt is not None
        if self.prompted != (record.prompt is not None):
            first, this = ("a", "none") if self.prompted else ("no", "one")
            raise BadRowError(f"must begin with {first} prompt, as the first row does", this)


def require_some(records: Sequence[object], reading: Reading) -> None:
    """Refuses a source of which nothing is used.

    Raises:
        InputError: It says why.
    """
    if not records:
        table, reasons = reading.table, ", ".join(reading.tallies.left_out.findings())
        raise InputError(
            f"{table.key}: must hold at least two texts, received {table.name} with none"
            f"{f' that is used ({reasons})' if reasons else ''}; give another"
        )


def require_like(heldout: Reading, source: Reading) -> None:
    """Refuses held-out data of another format than that of the source, or without its prompts.

    Whether there are prompts is known only of what has been read.

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
    if None not in (heldout.prompted, source.prompted) and heldout.prompted != source.prompted:
        has, received = ("", "none") if source.prompted else ("no ", "some")
        raise InputError(
            f"data.validation: must hold rows with {has}prompts, as data.source does, received "
            f"{heldout.table.name} with {received}; give another, or split both alike"
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
