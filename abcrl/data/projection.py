"""Of each record what a stage takes: a text to learn, a pair, or a prompt."""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from abcrl.config import RowsConfig

from .left_out import Tally
from .records import Example, Pair, Record
from .tables import Table

R = TypeVar("R", Example, Pair)

REPEATED = "the same prompt and chosen response as an earlier pair"
"""Why a pair is left out whose chosen response to the same prompt is learnt already."""

HELD_OUT_TEXT = "texts that are held out too"
"""Why a pair is left out whose chosen text is a side of a held-out pair."""


@dataclass(frozen=True)
class Projection(Generic[R]):
    """Takes of each record what a stage needs; what it must not have twice is left out.

    Attributes:
        take: From a record to what is taken.
        rows: Whether copies are left out.
        left_out: Where the rows are counted that are left out.
    """

    take: Callable[[Record], R]
    rows: RowsConfig
    left_out: Tally

    def of(
        self,
        records: Iterable[tuple[int, Record]],
        table: Table,
        asked: Container[str] = frozenset(),
    ) -> list[R]:
        """Returns what is taken of records.

        Args:
            records: With the numbers of their rows.
            table: Their table.
            asked: What is held out from them, see `asked_by`.
        """
        taken, seen = [], set()
        for number, record in records:
            one = self.take(record)
            reason = HELD_OUT_TEXT if one.key in asked else ""
            # Of pairs alone: two rows of a text are copies, or differ in what is not read here.
            if self.rows.duplicates == "drop" and _chosen_of(record, one):
                reason = reason or (REPEATED if one.content in seen else "")
                seen.add(one.content)
            if reason:
                self.left_out.add(reason, table.place(number))
            else:
                taken.append(one)
        return taken


def learnt(record: Record) -> Example:
    """Returns the text of a record, or the response and what it answers: of a pair the chosen."""
    return record if isinstance(record, Example) else Example(record.chosen, prompt=record.prompt)


def compared(record: Record) -> Pair:
    """Returns a pair."""
    assert isinstance(record, Pair)  # the only format that is read
    return record


def answered(record: Record) -> Example:
    """Returns the prompt of a record; where it has none, the text that one is cut from."""
    return learnt(record) if record.prompt is None else Example("", prompt=record.prompt)


def _chosen_of(record: Record, taken: Record) -> bool:
    """Whether a text was taken of a pair; prompts are asked once however often they are there."""
    return isinstance(record, Pair) and isinstance(taken, Example) and bool(taken.text)
