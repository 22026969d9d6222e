"""What rows ask: the keys by which held-out rows keep others out of training."""

from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from .formats import Layout
from .records import Pair, Record
from .tables import BadRowError, Problem, Row
from .values import UnusedRow, read_prompt, read_text, split_conversation, split_pair

P = ParamSpec("P")
T = TypeVar("T")


def asked_by(record: Record) -> Iterator[str]:
    """Yields the key of a record; of a pair without a prompt also both texts."""
    yield record.key
    if isinstance(record, Pair) and record.prompt is None:
        yield from (record.chosen, record.rejected)


def asked_by_row(row: Row, layout: Layout) -> Iterator[str]:
    """Yields what a row asks, as far as that can be read, whatever else is wrong with it.

    So a row is held out from every stage, though one leaves it out: for its label, for an empty
    response, as a copy.
    """
    if isinstance(row, Problem):
        return
    said = {key: row.get(column) for key, column in layout.columns.items()}
    if layout.splits:
        yield from _asked_by_sides(said["chosen"], said["rejected"])
    elif layout.format == "text":
        text = _readable(read_text, said["text"], "text")
        yield from () if text is None else (text,)
    elif layout.format == "messages":
        conversation = _readable(split_conversation, said["messages"], "messages")
        yield from () if conversation is None else (conversation[0].key,)
    else:
        prompt = _readable(read_prompt, said["prompt"], "prompt")
        yield from () if prompt is None else (prompt.key,)


def _asked_by_sides(*sides: object) -> Iterator[str]:
    texts = []
    for side in sides:
        read = _readable(split_pair, side, side, ("chosen", "rejected"))
        if read is None:
            continue
        prompt, text, _ = read
        yield text if prompt is None else prompt.key
        if prompt is None:
            texts.append(text)
    if len(texts) == len(sides):
        yield Pair(None, texts[0], texts[1]).key


def _readable(read: Callable[P, T], *values: P.args, **named: P.kwargs) -> T | None:
    try:
        return read(*values, **named)
    except (BadRowError, UnusedRow):
        return None
