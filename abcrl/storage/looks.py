"""What has been seen of a comparison's verdicts, and what that means for those to come.

Seeds that are added because of what fewer have shown, contrasts that are declared because their
difference looked large, or declared again without those that showed nothing, and margins that are
chosen by what they have to hold: each raises the rate of false verdicts. None is done in silence.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from abcrl.config import CompareConfig, ContrastConfig, plan_cells
from abcrl.config.words import count

from .durable import write_atomically

LOOKS = "looks.jsonl"
"""The file in a comparison's folder: one row for each conclusion that differs from the last."""

Pair = frozenset[str]
"""The two arms of a contrast; turned round it is the same contrast."""


class Declared(NamedTuple):
    """A contrast as it was declared."""

    arm: str
    baseline: str
    margin: str = ""
    """In words; empty where none was stated."""

    @classmethod
    def of(cls, contrast: ContrastConfig) -> "Declared":
        """Returns the contrast of a configuration."""
        if contrast.margin is None:
            return cls(contrast.arm, contrast.baseline)
        whole = " - ".join(sorted(contrast.margin_of or ()))
        margin = f"{contrast.margin!r}{f' of {whole}' if whole else ''}"
        return cls(contrast.arm, contrast.baseline, margin)

    @property
    def pair(self) -> Pair:
        """Its arms, whichever way round."""
        return frozenset((self.arm, self.baseline))


class Look(NamedTuple):
    """What one conclusion of a comparison was drawn from."""

    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    contrasts: tuple[Declared, ...]

    @classmethod
    def of(cls, config: CompareConfig) -> "Look":
        """Returns the look that concluding a comparison is."""
        return cls(
            tuple(config.seeds),
            tuple(dict.fromkeys(cell.arm.name for cell in plan_cells(config))),
            tuple(map(Declared.of, config.declared_contrasts)),
        )

    @property
    def pairs(self) -> set[Pair]:
        """The arms of each declared contrast."""
        return {one.pair for one in self.contrasts}


class Earlier(NamedTuple):
    """What has been concluded of a comparison before, as far as it weighs on what is said now."""

    notes: tuple[str, ...] = ()
    """For the brackets of every verdict."""
    dropped: int = 0
    """Contrasts that were declared then and are no more; they stay in the family."""
    late: Mapping[Pair, str] = MappingProxyType({})
    """For the brackets of the verdict on a contrast: what of it was declared after a look."""

    def note(self, arm: str, baseline: str) -> list[str]:
        """Returns all that the verdict on a contrast has to say of earlier looks."""
        pair = frozenset((arm, baseline))
        return [*self.notes, *([self.late[pair]] if pair in self.late else [])]


def weigh_looks(looks: Sequence[Look], now: Look) -> Earlier:
    """Returns what earlier looks at a comparison mean for the next one.

    Seeds chosen after a look can be chosen for what they show: a test that may be repeated until it
    says what is hoped for says it more often than its level; Armitage, McPherson and Rowe (1969),
    "Repeated significance tests on accumulating data", JRSS A 132. So the look is named. A contrast
    that was dropped after a look goes on to count, and one of two arms that had been seen already
    is said to be declared late.

    Args:
        looks: The conclusions that were drawn before, oldest first.
        now: The one to be drawn.
    """
    others = [set(look.seeds) for look in looks if set(look.seeds) != set(now.seeds)]
    added = sorted({len(seen) for seen in others if seen < set(now.seeds)})
    changed = sorted({len(seen) for seen in others if not seen < set(now.seeds)})
    dropped = {pair for look in looks for pair in look.pairs} - now.pairs
    notes = [
        f"seeds {what} after {_say_looks(sizes)}"
        for what, sizes in (("added", added), ("changed", changed))
        if sizes
    ]
    if dropped:
        notes.append(f"Holm counts {count(len(dropped), 'contrast')} dropped after a look")
    late = {one.pair: said for one in now.contrasts if (said := _say_late(looks, one))}
    return Earlier(tuple(notes), len(dropped), late)


def read_looks(folder: Path) -> list[Look]:
    """Returns the conclusions drawn so far, oldest first; rows that are none are left out.

    Args:
        folder: Of a comparison; where it has no such file, there are none.
    """
    try:
        text = (folder / LOOKS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    looks = [_parse(line) for line in text.split("\n")]
    return [look for look in looks if look is not None]


def append_look(folder: Path, look: Look) -> None:
    """Records a conclusion, in one step and on the disk; nothing where it equals the last.

    Args:
        folder: Of a comparison, held by the caller.
        look: What was seen.
    """
    looks = read_looks(folder)
    if looks and looks[-1] == look:
        return
    rows = [json.dumps(one._asdict()) + "\n" for one in (*looks, look)]
    write_atomically(folder / LOOKS, "".join(rows))


def _parse(line: str) -> Look | None:
    try:
        row = json.loads(line)
        seeds = tuple(int(seed) for seed in row["seeds"])
        arms = tuple(str(arm) for arm in row["arms"])
        contrasts = tuple(Declared(*map(str, contrast)) for contrast in row["contrasts"])
    except (ValueError, KeyError, TypeError):
        return None
    return Look(seeds, arms, contrasts)


def _say_late(looks: Sequence[Look], contrast: Declared) -> str:
    if _is_late(looks, contrast.pair, lambda look: contrast.pair in look.pairs):
        return "declared after a look"
    stated = (contrast.pair, contrast.margin)
    if contrast.margin and _is_late(
        looks,
        contrast.pair,
        lambda look: stated in {(one.pair, one.margin) for one in look.contrasts},
    ):
        return "margin stated after a look"
    return ""


def _is_late(looks: Sequence[Look], pair: Pair, is_stated: Callable[[Look], bool]) -> bool:
    """Whether both arms had been seen before it was stated for the first time."""
    for look in looks:
        if is_stated(look):
            return False
        if pair <= set(look.arms):
            return True
    return False


def _say_looks(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"a look at {sizes[0]}"
    return "looks at " + " and ".join(str(size) for size in sizes)
