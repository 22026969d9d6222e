"""How much of very many curves a figure draws: a page has to bear it, and an eye to tell it apart.

Means and bands are always drawn. The line of each seed is left out where there would be too many
points, and of very many evaluations every second, third, ... is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from abcrl.analysis.curves import CellCurve

_MOST_POINTS = 18_000  # of a figure's means, and again of its thin lines: about 600 kB of SVG


@dataclass(frozen=True)
class Thinned:
    """What is drawn of some curves."""

    curves: tuple[CellCurve, ...]
    with_seeds: bool
    """Whether each seed has a line of its own."""
    note: str
    """What is left out, for the caption; empty or a sentence that begins with a blank."""


def thin(curves: Sequence[CellCurve], *, panels: int) -> Thinned:
    """Returns the curves as a figure draws them.

    Args:
        curves: The cells.
        panels: How many times the figure draws each.
    """
    arms = {curve.arm for curve in curves}
    steps = sorted({step for curve in curves for step in curve.steps})
    stride = max(1, math.ceil(panels * len(arms) * len(steps) / _MOST_POINTS))
    kept = {*steps[::stride], *steps[-1:]}
    drawn = tuple(curve if stride == 1 else _keep(curve, kept) for curve in curves)
    points = panels * sum(len(curve.steps) for curve in drawn)
    with_seeds = points <= _MOST_POINTS
    note = "" if stride == 1 else f" Of each {stride} evaluations one is drawn."
    if not with_seeds:
        note += " Too many runs for a line each."
    return Thinned(drawn, with_seeds, note)


def _keep(curve: CellCurve, steps: set[int]) -> CellCurve:
    places = [place for place, step in enumerate(curve.steps) if step in steps]
    return replace(
        curve,
        steps=tuple(curve.steps[place] for place in places),
        metrics={
            name: tuple(values[place] for place in places) for name, values in curve.metrics.items()
        },
    )
