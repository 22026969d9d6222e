"""What the rows of a source are: told from the names of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from abcrl.config import ColumnsConfig, DataConfig, InputError

from .tables import Problem, Row, Table, listed

_NEEDED = {
    "pairs": ("chosen", "rejected"),
    "messages": ("messages",),
    "response": ("prompt", "response"),
    "text": ("text",),
    "prompt": ("prompt",),
}
"""Columns that a format needs; the first format that has its own is the one."""

_READ = {**_NEEDED, "pairs": ("prompt", "chosen", "rejected", "margin")}
"""Columns that a format reads."""

LOOK_AHEAD = 100
"""How many rows tell the columns of a source that does not name them."""

_LABELLED = ("messages", "response", "text")
_FLAGS = {"text": "--text-column", "label": "--label-column"}
_DEFAULTS = ColumnsConfig()


@dataclass(frozen=True)
class Use:
    """What a command does with the rows of a source.

    Attributes:
        formats: The formats that it can use.
        labelled: Whether labels are read.
        purpose: What messages call it.
    """

    formats: tuple[str, ...]
    labelled: bool = False
    purpose: str = "texts"


TEXTS = Use(("pairs", "messages", "response", "text"), purpose="texts to learn")
LABELLED = Use(_LABELLED, labelled=True, purpose="labelled texts")
PAIRS = Use(("pairs",), purpose="preference pairs")
PROMPTS = Use(tuple(_NEEDED), purpose="prompts")


@dataclass(frozen=True)
class Layout:
    """Which columns of a source are read, and as what.

    Attributes:
        format: What a row is.
        columns: Name of the column of each value that is read: text, label, prompt, ...
        known: Columns that the configuration names and the source has: two rows that are alike in
            these are copies.
    """

    format: str
    columns: dict[str, str]
    known: tuple[str, ...]

    @property
    def splits(self) -> bool:
        """Whether prompts are told from what both sides of a pair begin with."""
        return self.format == "pairs" and "prompt" not in self.columns


def named_columns(config: ColumnsConfig) -> set[str]:
    """Returns the names of all columns that may be read."""
    return {name for name in config.model_dump().values() if name is not None}


def with_columns(table: Table, config: DataConfig, use: Use) -> Table:
    """Returns the table with columns: where it names none, those of its first rows.

    They are the columns of most of the first `LOOK_AHEAD` rows, of those that the use can read: so
    a first row that is bad, or has less than the others, is a bad row and not the rule. They stay
    None where no row can be read.
    """
    if table.columns is not None:
        return table
    rows = iter(table.rows)
    begun: list[tuple[int, Row]] = []
    names: list[Sequence[str]] = []
    for number, row in rows:
        begun.append((number, row))
        if not isinstance(row, Problem):
            names.append(list(row))
        if names and len(begun) >= LOOK_AHEAD:
            break
    columns = _columns_of_most(table, names, config, use)
    return replace(table, rows=chain(begun, rows), columns=columns)


def _columns_of_most(
    table: Table, rows: Sequence[Sequence[str]], config: DataConfig, use: Use
) -> list[str] | None:
    """Returns all columns of the rows that are read like most of them; None of no rows."""
    alike: dict[object, list[Sequence[str]]] = {}
    for names in rows:
        try:
            layout = find_layout(replace(table, columns=names), config, use)
        except InputError:
            continue
        alike.setdefault((layout.format, *layout.columns), []).append(names)
    most = max(alike.values(), key=len, default=rows[:1])
    return list(dict.fromkeys(chain.from_iterable(most))) if rows else None


def find_layout(table: Table, config: DataConfig, use: Use) -> Layout:
    """Returns what the rows of a table are.

    Args:
        table: A table with columns.
        config: Format, or auto, and the names of the columns.
        use: What the rows are read for.

    Raises:
        InputError: A column is missing, or the format is of no use.
    """
    columns = table.columns or ()
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise InputError(
            f"{table.name}: must name each column once, received {repeated!r} twice; rename one"
        )
    names = config.columns
    _require(table, [key for key in _renamed(names) if key != "label"], names)
    format_ = _told(table, names, use) if config.format == "auto" else config.format
    if format_ not in use.formats:
        raise InputError(
            f"data.format: must be {' or '.join(use.formats)} for {use.purpose}, received "
            f"{format_}; name another, or give other data with --dataset"
        )
    if use.labelled and names.label not in columns and "pairs" in formats_of(columns, names):
        raise _only_pairs(table, names)
    needed = (*_NEEDED[format_], *(("label",) if use.labelled else ()))
    _require(table, needed, names)
    read = (*_READ[format_], *(("label",) if use.labelled else ()))
    known = sorted(named_columns(names) & set(columns))
    present = {key: getattr(names, key) for key in read if getattr(names, key) in columns}
    return Layout(format_, present, tuple(known))


def formats_of(columns: Sequence[str], names: ColumnsConfig) -> list[str]:
    """Returns the formats that columns allow, those with a column of the user's naming first."""
    there = [
        format_
        for format_, needed in _NEEDED.items()
        if all(getattr(names, key) in columns for key in needed)
    ]
    renamed = set(_renamed(names))
    return sorted(there, key=lambda format_: renamed.isdisjoint(_READ[format_]))


def needed_columns(names: ColumnsConfig, use: Use) -> str:
    """Returns the columns that a use needs, of each format that it can use."""
    named = [" and ".join(getattr(names, key) for key in _NEEDED[one]) for one in use.formats]
    label = f"; each with {names.label}" if use.labelled else ""
    return f"{'; or '.join(named)}{label}"


def _renamed(names: ColumnsConfig) -> list[str]:
    return [
        key
        for key in type(names).model_fields
        if getattr(names, key) not in (None, getattr(_DEFAULTS, key))
    ]


def _told(table: Table, names: ColumnsConfig, use: Use) -> str:
    found = [
        format_ for format_ in formats_of(table.columns or (), names) if format_ in use.formats
    ]
    if found:
        return found[0]
    if use.labelled and "pairs" in formats_of(table.columns or (), names):
        raise _only_pairs(table, names)
    example = _NEEDED[use.formats[-1]][0]
    raise InputError(
        f"data.columns: {table.name} must have the columns of {use.purpose} "
        f"({needed_columns(names, use)}), received {listed(table.columns or ())}; say which "
        f"is which, e.g. with --set data.columns.{example}=NAME"
    )


def _only_pairs(table: Table, names: ColumnsConfig) -> InputError:
    return InputError(
        f"data.columns.label: must name a column of {table.name} for a classifier, received "
        f"{names.label!r}, but its rows are pairs ({names.chosen}, {names.rejected}); learn from "
        f"them with --objective bradley-terry, or name the labels with --label-column"
    )


def _require(table: Table, keys: Sequence[str], names: ColumnsConfig) -> None:
    for key in keys:
        name = getattr(names, key)
        if name not in (table.columns or ()):
            flag = _FLAGS.get(key, f"--set data.columns.{key}=NAME")
            raise InputError(
                f"data.columns.{key}: must name a column of {table.name}, received {name!r}, but "
                f"there are {listed(table.columns or ())}; choose one with {flag}"
            )
