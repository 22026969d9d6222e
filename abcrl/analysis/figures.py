"""The learning curves of a comparison, as PNG and SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .curves import GOLD_SCORE, KL, SCORE, ArmInfo, CellCurve, mean_at_start
from .look import LOOK, Floats, Style, draw_mean, legend_line, save_figure, style_of

_PANEL_WIDTH, _PANEL_HEIGHT = 3.7, 3.4  # inches
_SFT_LINE: dict[str, Any] = {"color": "#555555", "linewidth": 1.3, "linestyle": (0, (4, 3))}


@dataclass(frozen=True)
class _Panel:
    metric: str
    title: str
    unit: str


_PANELS = (
    _Panel(SCORE, "Held-out score", "reward model's score"),
    _Panel(GOLD_SCORE, "Gold score", "true score of the text"),
    _Panel(KL, "KL to the SFT model", "nats per response"),
)


def plot_learning_curves(
    arms: Sequence[ArmInfo],
    curves: Sequence[CellCurve],
    stem: Path,
    *,
    title: str = "",
) -> tuple[Path, Path]:
    """Draws score, gold score and KL against the PPO step; returns the paths of PNG and SVG.

    Each panel has a thin line for each seed, the mean over seeds, and a band of one standard error
    of that mean; a quantity that was not evaluated has no panel. The bands are those of single
    arms: the tests of a comparison are on paired differences, which vary less.

    Args:
        arms: In the order of the legend; an arm without a finished cell is left out.
        curves: The finished cells.
        stem: Path without suffix.
        title: Printed above the panels.

    Raises:
        ValueError: No cell was evaluated, so there is nothing to draw.
    """
    shown = [arm for arm in arms if any(curve.arm == arm.name for curve in curves)]
    panels = [panel for panel in _PANELS if any(panel.metric in one.metrics for one in curves)]
    if not shown or not panels:
        raise ValueError("a figure needs at least one finished cell of the given arms")
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(_PANEL_WIDTH * max(2, len(panels)), _PANEL_HEIGHT))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw_panel(axis, panel, shown, curves)
        _lay_out(figure, title, shown, curves)
        return save_figure(figure, stem)


def _draw_panel(
    axis: Axes, panel: _Panel, arms: Sequence[ArmInfo], curves: Sequence[CellCurve]
) -> None:
    for position, arm in enumerate(arms):
        own = [one for one in curves if one.arm == arm.name and panel.metric in one.metrics]
        if own:
            _draw_arm(axis, style_of(position), own, panel.metric)
    baseline = mean_at_start(curves, panel.metric)
    if baseline is not None and panel.metric != KL:
        axis.axhline(baseline, zorder=1, **_SFT_LINE)
    axis.set_title(panel.title, loc="left", fontweight="bold")
    axis.set_xlabel("PPO step")
    axis.set_ylabel(panel.unit)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.margins(x=0.02)


def _draw_arm(axis: Axes, style: Style, curves: Sequence[CellCurve], metric: str) -> None:
    steps, table = _tabulate(curves, metric)
    for row in table:
        axis.plot(steps, row, color=style.color, linewidth=0.6, alpha=0.28, zorder=2)
    draw_mean(axis, style, steps, table)


def _tabulate(curves: Sequence[CellCurve], metric: str) -> tuple[list[int], Floats]:
    """Returns all steps and one row for each seed, NaN where a seed was not evaluated."""
    steps = sorted({step for curve in curves for step in curve.steps})
    column = {step: index for index, step in enumerate(steps)}
    table = np.full((len(curves), len(steps)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[[column[step] for step in curve.steps]] = curve.metrics[metric]
    return steps, table


def label_arm(arm: ArmInfo) -> str:
    """Returns the arm's name with what it was trained with: `abc (β 0.8, λ 0.95)`."""
    beta = "" if arm.beta is None else f"β {arm.beta:g}, "
    return f"{arm.name} ({beta}λ {arm.gae_lambda:g})"


def _caption(arms: Sequence[ArmInfo], curves: Sequence[CellCurve]) -> str:
    counts = [sum(curve.arm == arm.name for curve in curves) for arm in arms]
    low, high = min(counts), max(counts)
    seeds = f"{low} seed{'s' if low > 1 else ''}" if low == high else f"{low} to {high} seeds"
    if high == 1:
        return "One seed: no bands."
    return f"Mean over {seeds} (thin lines: each seed); bands: ± 1 standard error of the mean."


def _lay_out(
    figure: Figure, title: str, arms: Sequence[ArmInfo], curves: Sequence[CellCurve]
) -> None:
    """Title above, legend and caption below the panels, in inches added for them."""
    handles = [legend_line(style_of(position), label_arm(arm)) for position, arm in enumerate(arms)]
    if any(0 in curve.steps for curve in curves):
        handles.append(Line2D([], [], label="SFT model (step 0)", **_SFT_LINE))
    width, panel_height = figure.get_size_inches()
    longest = max(len(str(handle.get_label())) for handle in handles)
    entry = 0.9 + 0.086 * longest  # about the inches that the longest entry takes
    columns = max(1, int(width // entry))
    below = 0.4 + 0.24 * math.ceil(len(handles) / columns)
    above = 0.35 if title else 0.0
    height = panel_height + below + above
    figure.set_size_inches(width, height)
    caption = _caption(arms, curves)
    figure.text(0.01, 1 - 0.08 / height, title, ha="left", va="top", fontsize=13)
    figure.text(0.5, 0.08 / height, caption, ha="center", va="bottom", fontsize=10, color="#444444")
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.22 / height),
        ncols=columns,
        fontsize=LOOK["font.size"] * min(1.0, 0.97 * width / entry),
        handlelength=3.2,
        columnspacing=1.6,
    )
    figure.tight_layout(rect=(0, below / height, 1, 1 - above / height), w_pad=1.5)
