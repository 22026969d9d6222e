"""The rows of samples.jsonl that a page can show, and which it cannot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abcrl.config import InputError
from abcrl.storage import read_rows

from .facts import cut_folder

Row = Mapping[str, Any]

_MOST_IDS = 2**32  # what a tokenizer takes
_SHOWN = 60  # characters of a value that is named


@dataclass(frozen=True)
class CellSamples:
    """The samples of one cell at its first and at its last evaluation."""

    arm: int
    """The arm's place."""
    seed: int
    first: Sequence[Row]
    last: Sequence[Row]
    trouble: str = ""
    """What is left out because it cannot be read, one line."""

    @classmethod
    def read(cls, arm: int, seed: int, folder: Path) -> "CellSamples":
        """Returns the samples in a run folder; none where none were written."""
        try:
            rows = read_rows(folder, "samples")
        except InputError as error:
            return cls(arm, seed, [], [], cut_folder(error, folder))
        flaws = [(number, flaw_of(row)) for number, row in enumerate(rows, start=1)]
        flawed = [(number, flaw) for number, flaw in flaws if flaw]
        good = [row for row, (_, flaw) in zip(rows, flaws, strict=True) if not flaw]
        steps = [row["step"] for row in good]
        first, last = min(steps, default=0), max(steps, default=0)
        return cls(
            arm,
            seed,
            [row for row in good if row["step"] == first],
            [row for row in good if row["step"] == last],
            _say_flaws(flawed),
        )

    @property
    def credits(self) -> list[list[float]]:
        """Credit of each response of the last evaluation."""
        return [row["credit"] for row in self.last if row.get("credit")]


def flaw_of(row: Row) -> str:
    """Returns what about a row is not as a sample has it, empty where nothing is.

    Without credit a sample needs no token: its response is shown as a whole.
    """
    rules = [("step", _is_count), ("prompt_index", _is_count), ("score", _is_number)]
    rules += [(name, _is_text) for name in ("prompt", "response")]
    rules += [
        (name, _is_number)
        for name in ("gold_score", "score_offset", "shaped_score")
        if row.get(name) is not None
    ]
    if row.get("credit") not in (None, []):
        rules += [(name, _are_ids) for name in ("prompt_ids", "response_ids")]
        rules += [(name, _are_numbers) for name in ("credit", "token_scores")]
    for name, holds in rules:
        if not holds(row.get(name)):
            return f"received {name} {str(row.get(name))[:_SHOWN]!r}"
    if row.get("credit"):
        tokens = len(row["response_ids"])
        for name in ("credit", "token_scores"):
            if len(row[name]) != tokens:
                return f"received {name} of {len(row[name])} tokens for a response of {tokens}"
    return ""


def _say_flaws(flawed: Sequence[tuple[int, str]]) -> str:
    if not flawed:
        return ""
    number, flaw = flawed[0]
    more = f"; so are {len(flawed) - 1} more" if len(flawed) > 1 else ""
    return f"samples.jsonl:{number}: must be a sample, {flaw}; it is left out{more}"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_IDS


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _MOST_IDS and math.isfinite(value)


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))
