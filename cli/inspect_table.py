"""What `abcrl inspect` prints. All of it may quote what somebody wrote into a file."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .outcome import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from abcrl.tools.inspection import Inspection
    from abcrl.tools.rendered import Piece

_SHOWN_CHARACTERS = 800
_LEAST_ROOM = 20
"""Characters of a line that are always for its text, however narrow a terminal is."""


def print_inspection(report: "Inspection") -> None:
    """Prints everything, the problems last."""
    console = Console(highlight=False)
    _print_overview(console, report)
    if report.columns:
        console.print(_columns(report))
    if report.uses:
        console.print(_uses(report))
    if report.lengths:
        console.print(_lengths(report))
    _print_limits(console, report)
    _print_examples(console, report)
    _print_troubles(console, report)


def _line(console: Console, head: str, text: str = "", *, indent: int | None = None) -> None:
    """Prints a line, whose text wraps on a terminal; elsewhere a line stays a line.

    Args:
        console: Where to.
        head: What it begins with.
        text: What follows.
        indent: Column in which the text goes on; None: the one in which it begins.
    """
    head, text = printable(head), printable(text)
    indent = len(head) if indent is None else indent
    lines = [text]
    if console.is_terminal:
        room = max(_LEAST_ROOM, console.width - indent)
        lines = [line.plain for line in Text(text).wrap(console, room)] or lines
    for number, line in enumerate(lines):
        # Square brackets are words here, and so is the name of an emoji between colons.
        whole = f"{' ' * indent if number else head}{line}"
        console.print(whole, markup=False, emoji=False, soft_wrap=True)


def _print_overview(console: Console, report: "Inspection") -> None:
    _line(console, "source    ", report.source)
    _line(console, "rows      ", f"{report.rows:,}")
    _line(console, "format    ", report.format or "none that is known")
    if report.train is not None:
        share = "" if report.heldout_source is None else f" ({report.heldout_source})"
        _line(
            console,
            "division  ",
            f"{report.train:,} to train on, {report.heldout:,} held out{share}; {_used(report)}",
        )
    if report.labels:
        shown = ", ".join(f"{label}: {count:,}" for label, count in report.labels.items())
        _line(console, "labels    ", shown)
    if report.chosen_longer is not None:
        _line(console, "pairs     ", f"chosen has more characters in {report.chosen_longer:.1%}")


def _used(report: "Inspection") -> str:
    if not report.refused:
        return f"{report.used:,} of the rows can be used"
    refused = "all" if report.refused == report.used else f"{report.refused:,}"
    return (
        f"{report.used:,} of the rows can be read, {refused} of them refused as data.template "
        f"stands, see Problems"
    )


def _columns(report: "Inspection") -> Table:
    table = _table("Columns", ["column", "values", "empty"])
    for column in report.columns:
        _add(table, column.name, ", ".join(column.kinds) or "-", f"{column.empty:.1%}")
    return table


def _uses(report: "Inspection") -> Table:
    table = _table("What is read of it", ["command", "reads"])
    for command, read in report.uses.items():
        _add(table, command, read)
    return table


def _lengths(report: "Inspection") -> Table:
    names = ["part", "unit", "min", "median", "p90", "p99", "max"]
    table = _table("Lengths", names, right=names[2:])
    for one in report.lengths:
        sizes = (one.low, one.median, one.p90, one.p99, one.high)
        _add(table, one.part, one.unit, *(f"{size:,}" for size in sizes))
    return table


def _print_limits(console: Console, report: "Inspection") -> None:
    if not report.limits:
        return
    _line(console, "Token limits")
    for limit in report.limits:
        if limit.over:
            said = f"{limit.over:,} of {limit.total:,} {limit.counted} have more, {limit.effect}"
        else:
            said = f"all of {limit.total:,} {limit.counted} fit"
        if limit.enough > limit.value:
            said += f"; {limit.enough:,} would be enough for {limit.kept:,}"
        _line(console, "  ", f"{limit.key}, by default {limit.value:,}: {said}", indent=4)
    _line(console, "")


def _table(title: str, names: "Sequence[str]", right: "Sequence[str]" = ("empty",)) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _print_examples(console: Console, report: "Inspection") -> None:
    if not report.examples:
        return
    special = any(
        piece.special for one in report.examples for _, pieces in one.parts for piece in pieces
    )
    _line(console, f"Examples{', special tokens as «token»' if special else ''}")
    for one in report.examples:
        _line(console, "")
        _line(console, one.place)
        for name, pieces in one.parts:
            text = _shortened("".join(map(_shown, pieces)))
            for number, line in enumerate(text.split("\n")):
                _line(console, f"  {name if number == 0 else '':<10}", line)
    _line(console, "")


def _shown(piece: "Piece") -> str:
    return f"«{piece.text}»" if piece.special else piece.text


def _shortened(text: str) -> str:
    """Returns the beginning and the end of a long text."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"


def _print_troubles(console: Console, report: "Inspection") -> None:
    if report.obstacle:
        _line(console, "Problem: ", report.obstacle)
    if report.troubles:
        _line(console, "Problems")
    for trouble in report.troubles:
        count = "1 row" if trouble.found.count == 1 else f"{trouble.found.count:,} rows"
        said = f"{count}: {trouble.what}; {trouble.effect} ({trouble.found})"
        _line(console, "  ", said, indent=4)
    if report.untried:
        untried = "The chat template was not tried on the rows; name whose it is with --tokenizer."
        _line(console, "", untried)
    elif not report.obstacle and not report.troubles:
        _line(console, "No problem was found.")
