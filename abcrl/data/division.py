"""Which records are trained on and which are held out: told by what they ask."""

import random
from collections.abc import Callable, Iterable
from typing import TypeVar

from abcrl.config import DataConfig, InputError, stream_seed

from .records import Record

R = TypeVar("R", bound=Record)


def draw(records: list[R], config: DataConfig) -> list[R]:
    """Returns at most `limit` records, in their order; a smaller limit draws some of the same."""
    if config.limit is None or config.limit >= len(records):
        return records
    order = list(range(len(records)))
    random.Random(stream_seed(config.seed, "limit")).shuffle(order)
    return [records[index] for index in sorted(order[: config.limit])]


def divide(records: Iterable[R], config: DataConfig) -> tuple[list[R], list[R]]:
    """Holds out each record or not by a hash of its key: of the prompt, or the whole text.

    So a prompt or a text is on the same side in every run, however many are read and in which
    order, and two copies of one, or two answers to it, never end up on both sides.

    Raises:
        InputError: A side is empty.
    """
    parts: tuple[list[R], list[R]] = ([], [])
    for record in records:
        position = stream_seed(config.seed, "validation", record.key) / 2**63
        parts[position < config.validation_fraction].append(record)
    for name, part in zip(("training", "validation"), parts, strict=True):
        if not part:
            raise InputError(
                f"data.validation_fraction: must leave at least one {name} text, received "
                f"{config.validation_fraction} of {len(parts[0]) + len(parts[1])} texts; "
                f"give more texts or another fraction"
            )
    return parts


def hold_out(
    records: Iterable[tuple[int, R]],
    heldout: list[R],
    config: DataConfig,
    leave_out: Callable[[int], None],
) -> tuple[list[R], list[R]]:
    """Returns what to train on and what is held out, where the latter has a source of its own.

    Args:
        records: Those of the source, with the numbers of their rows.
        heldout: Those that are held out, all of them.
        config: `limit` applies to what is trained on alone.
        leave_out: Takes the numbers of rows whose key is among what is held out.
    """
    keys = {record.key for record in heldout}
    train = []
    for number, record in records:
        if record.key in keys:
            leave_out(number)
        else:
            train.append(record)
    return draw(train, config), heldout
