"""Which records are trained on and which are held out: told by what they ask."""

import random
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import TypeVar

from abcrl.config import DataConfig, InputError, stream_seed

from .asked import asked_by
from .reading import Reading, require_like, require_some
from .records import Record
from .tables import Table

T = TypeVar("T")

HELD_OUT = "held out by data.validation"
"""Why a row is left out that the held-out data hold too."""


@dataclass(frozen=True)
class Parts:
    """The records of a source, divided, with the numbers of their rows.

    Attributes:
        train: Those to train on.
        heldout: Those held out from all training, of the source or of their own.
        asked: What the latter ask, see `asked_by`.
        tables: Where the rows of the two are.
    """

    train: list[tuple[int, Record]]
    heldout: list[tuple[int, Record]]
    asked: Container[str]
    tables: tuple[Table, Table]


def divide_source(
    records: Iterable[tuple[int, Record]],
    source: Reading,
    heldout: Reading | None,
    config: DataConfig,
) -> Parts:
    """Returns the records to train on and those held out.

    Args:
        records: Those of the source, with the numbers of their rows.
        source: The reading that gives them.
        heldout: What is held out, where that has a source of its own; it is read here. Rows that
            ask what any of its rows asks are then left out of training, and `limit` applies to
            what is trained on alone.
        config: Limit and division.

    Raises:
        InputError: A side is empty, or the held-out data are of another kind.
    """
    if heldout is None:
        records = list(records)
        require_some(records, source)
        train, held = divide(draw(records, config), config, _key)
        asked = {key for _, record in held for key in asked_by(record)}
        return Parts(train, held, asked, (source.table, source.table))
    require_like(heldout, source)
    asked = set()
    held = list(heldout.records(asked))
    require_some(held, heldout)
    train = []
    for number, record in records:
        if record.key in asked:
            source.tallies.left_out.add(HELD_OUT, source.table.place(number))
        else:
            train.append((number, record))
    require_like(heldout, source)  # now that it is known what their rows begin with
    require_some(train, source)
    return Parts(draw(train, config), held, asked, (source.table, heldout.table))


def draw(records: list[T], config: DataConfig) -> list[T]:
    """Returns at most `limit` records, in their order; a smaller limit draws some of the same."""
    if config.limit is None or config.limit >= len(records):
        return records
    order = list(range(len(records)))
    random.Random(stream_seed(config.seed, "limit")).shuffle(order)
    return [records[index] for index in sorted(order[: config.limit])]


def divide(
    records: Iterable[T], config: DataConfig, key: Callable[[T], str]
) -> tuple[list[T], list[T]]:
    """Holds out each record or not by a hash of its key: of the prompt, or the whole text.

    So a prompt or a text is on the same side in every run, however many are read and in which
    order, and two copies of one, or two answers to it, never end up on both sides.

    Raises:
        InputError: A side is empty.
    """
    parts: tuple[list[T], list[T]] = ([], [])
    for record in records:
        position = stream_seed(config.seed, "validation", key(record)) / 2**63
        parts[position < config.validation_fraction].append(record)
    for name, part in zip(("training", "validation"), parts, strict=True):
        if not part:
            raise InputError(
                f"data.validation_fraction: must leave at least one {name} text, received "
                f"{config.validation_fraction} of {len(parts[0]) + len(parts[1])} texts; "
                f"give more texts or another fraction"
            )
    return parts


def _key(numbered: tuple[int, Record]) -> str:
    return numbered[1].key
