"""At which seeds, and on which contrasts, a comparison's verdicts have been seen.

Seeds that are added because of what fewer have shown, and contrasts that are declared again without
those that showed nothing, raise the rate of false verdicts; so neither is done in silence.
"""

import json
from pathlib import Path
from typing import NamedTuple

from .durable import write_atomically

LOOKS = "looks.jsonl"
"""The file in a comparison's folder: one row for each conclusion that differs from the last."""


class Look(NamedTuple):
    """What one conclusion of a comparison was drawn from."""

    seeds: tuple[int, ...]
    contrasts: tuple[tuple[str, str], ...]
    """Arm and baseline of each declared one."""


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
        contrasts = tuple((str(arm), str(baseline)) for arm, baseline in row["contrasts"])
    except (ValueError, KeyError, TypeError):
        return None
    return Look(seeds, contrasts)
