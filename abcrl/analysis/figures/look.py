"""How every figure looks, and how it is saved.

Readable without colour (each arm has its own line style and marker), by the colour-blind (palette
of Okabe and Ito, 2008, "Color universal design"; its orange and sky blue darkened until they stand
out from white by 3:1) and at the width of a README. The same data give the same SVG byte for byte.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PNG_DPI = 200
LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "abcrl",
    "svg.fonttype": "path",
    "text.parse_math": False,  # names and values are text, whatever signs they hold
}
"""Settings of matplotlib, for `matplotlib.rc_context`."""
BASELINE: dict[Any, Any] = {"color": "#555555", "linewidth": 1.3, "linestyle": (0, (4, 3))}
"""The line of what needs no training, for `axis.axhline` and `Line2D`."""
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C48800", "#3C9BD1", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """The look of one arm."""

    position: int
    """Its place among the arms; the first is drawn on top."""
    color: str
    dashes: Any
    marker: str
    """Empty for none."""

    def mark_points(self, points: int) -> list[int]:
        """About five markers a line, shifted from arm to arm so that they do not cover another."""
        stride = max(1, math.ceil(points / 5))
        return list(range(self.position % stride, points, stride))

    def line(self, axis: Axes, points: int) -> dict[str, Any]:
        """Returns how the arm's mean is drawn, for `axis.plot`: over a line of so many points."""
        return {
            "color": self.color,
            "linestyle": self.dashes,
            "linewidth": 2.0,
            "marker": self.marker,
            "markersize": 5.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
            "markevery": self.mark_points(points),
            "zorder": 4 + 1 / (1 + self.position),  # the first arm on top
            "gid": group_id(axis, self),
        }


def style_of(position: int) -> Style:
    """Returns the look of the arm at a place."""
    return Style(
        position,
        _PALETTE[position % len(_PALETTE)],
        _DASHES[position % len(_DASHES)],
        _MARKERS[position % len(_MARKERS)],
    )


def group_id(axis: Axes, style: Style) -> str:
    """Returns the id that the next artist of an arm gets in the SVG, once in each figure.

    By what stands before the first dot a page finds all that belongs to the arm.
    """
    panel = axis.figure.axes.index(axis)
    return f"arm-{style.position}.{panel}.{len(axis.lines) + len(axis.collections)}"


def draw_mean(axis: Axes, style: Style, steps: npt.ArrayLike, table: Floats) -> None:
    """Draws the mean over seeds, and a band of one standard error of it.

    Args:
        axis: Where to.
        style: The arm's look.
        steps: `[n]`, ascending.
        table: `[seeds, n]`; what is not known is NaN.
    """
    known = np.isfinite(table)
    count = known.sum(axis=0)
    mean = np.where(known, table, 0).sum(axis=0) / np.maximum(count, 1)
    mean[count == 0] = np.nan
    if len(table) > 1:
        squares = np.where(known, table - mean, 0) ** 2
        error = np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1) / np.maximum(count, 1))
        axis.fill_between(
            steps,
            mean - error,
            mean + error,
            color=style.color,
            alpha=0.22,
            linewidth=0,
            zorder=3,
            gid=group_id(axis, style),
        )
    axis.plot(steps, mean, **style.line(axis, table.shape[1]))


def draw_seeds(
    axis: Axes, style: Style, lines: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]
) -> None:
    """Draws a thin line for each seed.

    Args:
        axis: Where to.
        style: The arm's look.
        lines: x and y of each.
    """
    for x, y in lines:
        axis.plot(
            x,
            y,
            color=style.color,
            linewidth=0.6,
            alpha=0.28,
            zorder=2,
            gid=group_id(axis, style),
        )


def legend_line(style: Style, label: str) -> Line2D:
    """Returns an arm's entry in the legend."""
    return Line2D(
        [],
        [],
        color=style.color,
        linestyle=style.dashes,
        linewidth=2.0,
        marker=style.marker,
        markeredgecolor="white",
        label=label,
    )


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes PNG and SVG, with nothing in them that changes from day to day; returns their paths.

    Args:
        figure: With a canvas that draws without a display.
        stem: Path without suffix; its folder is made.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    figure.savefig(png, dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg
