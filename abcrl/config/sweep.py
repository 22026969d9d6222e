"""The axes along which arms are repeated, and the points that these span."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Annotated

from pydantic import Field, JsonValue

from .load import flatten

Axis = Annotated[list[JsonValue], Field(min_length=1)]

# What all cells must have in common for their held-out scores to be paired, or an arm has itself.
SHARED = ("steps", "data", "prompt", "evaluation", "checkpoint")
BETA = "reward.beta"
GAE_LAMBDA = "ppo.gae_lambda"

_WORD = re.compile(r"[A-Za-z0-9._-]{1,24}")


@dataclass(frozen=True)
class SweepPoint:
    """One value for each swept key."""

    values: Mapping[str, JsonValue]
    labels: Mapping[str, str]
    """Each value as it stands in names of arms and folders: a number or a short word as written,
    anything else as `#` with its place in the axis, from 1. Different values, different labels."""


def sweep_points(sweep: Mapping[str, Sequence[JsonValue]]) -> list[SweepPoint]:
    """Returns every combination of the axes' values; without axes, the one point of none."""
    labelled = [list(zip(values, _label(values), strict=True)) for values in sweep.values()]
    return [
        SweepPoint(
            values={key: value for key, (value, _) in zip(sweep, point, strict=True)},
            labels={key: label for key, (_, label) in zip(sweep, point, strict=True)},
        )
        for point in product(*labelled)
    ]


def _label(values: Sequence[JsonValue]) -> list[str]:
    words = [value if isinstance(value, str) else json.dumps(value) for value in values]
    # 1 and "1" read alike.
    return [
        word if _WORD.fullmatch(word) and words.count(word) == 1 else f"#{place}"
        for place, word in enumerate(words, start=1)
    ]


def require_sweepable(sweep: Mapping[str, Sequence[JsonValue]]) -> None:
    """Refuses axes that no comparison can have.

    They are keys that all cells have in common or that a sweep cannot reach, keys of two axes, and
    values that an axis has twice.

    Raises:
        ValueError: Names the first.
    """
    for key, values in sweep.items():
        section = key.partition(".")[0]
        if section in SHARED:
            raise ValueError(
                f"sweep must leave out {key}: held-out scores of one comparison have {section} in "
                f"common; set it in ppo, and compare in another folder"
            )
        if section == "reward" and key != BETA:
            raise ValueError(
                f"sweep must leave out {key}: of an arm's reward only beta is swept; give each "
                f"value an arm of its own"
            )
        for one, other in combinations(values, 2):
            if one == other:
                raise ValueError(
                    f"sweep.{key} must have different values, received {one!r} and {other!r}; "
                    f"leave one out"
                )
    for first, second in combinations(sweep, 2):
        if overlap(swept_keys(first, sweep[first]), swept_keys(second, sweep[second])):
            raise ValueError(f"sweep must vary each key once, received {first} and {second}")


def swept_keys(key: str, values: Sequence[JsonValue]) -> set[str]:
    """Returns the keys that an axis varies: its own, or those of the sections that it names."""
    return {leaf for value in values for leaf in flatten({key: value})}


def overlap(keys: set[str], others: set[str]) -> list[str]:
    """Returns those of `others` that are among `keys`, or hold one of them, or are in one."""
    return sorted(
        other
        for other in others
        if any(
            f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}.") for key in keys
        )
    )
