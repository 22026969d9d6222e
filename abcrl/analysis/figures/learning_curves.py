"""The learning curves of a comparison, as PNG and SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from abcrl.analysis.curves import GOLD_SCORE, KL, SCORE, ArmInfo, CellCurve, mean_at_start

from .look import BASELINE, Floats, Style, draw_mean, draw_seeds, legend_line, style_of
from .pictures import Panel, Picture, save_picture
from .thinning import Thinned, thin


@dataclass(frozen=True)
class _Panel:
    name: str
    metric: str
    title: str
    unit: str


_PANELS = (
    _Panel("score", SCORE, "Held-out score", "reward model's score"),
    _Panel("gold-score", GOLD_SCORE, "Gold score", "true score of the text"),
    _Panel("kl", KL, "KL to the SFT model", "nats per response"),
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
    return save_picture(learning_curves(arms, curves), stem, title=title)


def learning_curves(arms: Sequence[ArmInfo], curves: Sequence[CellCurve]) -> Picture:
    """Returns what `plot_learning_curves` draws.

    Raises:
        ValueError: No cell was evaluated.
    """
    shown = arms_with(curves, arms)
    known = [one for one in _PANELS if any(one.metric in curve.metrics for curve in curves)]
    drawn = thin(curves, panels=len(known))
    panels = tuple(
        Panel(one.name, one.title, partial(_draw_panel, one, shown, drawn)) for one in known
    )
    if not shown or not panels:
        raise ValueError("a figure needs at least one finished cell of the given arms")
    entries = legend_entries(shown, curves)
    return Picture(
        name="learning-curves",
        title="Learning curves",
        caption=_caption([arm for _, arm in shown], drawn),
        panels=panels,
        entries=entries,
        beyond_arms="Dashed: SFT model." if len(entries) > len(shown) else "",
    )


def arms_with(curves: Sequence[CellCurve], arms: Sequence[ArmInfo]) -> list[tuple[Style, ArmInfo]]:
    """Returns the arms that have curves, each with the look of its place among all arms."""
    having = {curve.arm for curve in curves}
    return [(style_of(n), arm) for n, arm in enumerate(arms) if arm.name in having]


def legend_entries(
    arms: Sequence[tuple[Style, ArmInfo]], curves: Sequence[CellCurve]
) -> tuple[Line2D, ...]:
    """Returns the legend: the arms, and the SFT model where it was evaluated."""
    entries = [legend_line(style, label_arm(arm)) for style, arm in arms]
    if any(0 in curve.steps for curve in curves):
        entries.append(Line2D([], [], label="SFT model (step 0)", **BASELINE))
    return tuple(entries)


def _draw_panel(
    panel: _Panel,
    arms: Sequence[tuple[Style, ArmInfo]],
    drawn: Thinned,
    axis: Axes,
) -> None:
    having = [one for one in drawn.curves if panel.metric in one.metrics]
    for style, arm in arms:
        own = [one for one in having if one.arm == arm.name]
        if own:
            steps, table = _tabulate(own, panel.metric)
            if drawn.with_seeds:
                draw_seeds(axis, style, [(steps, row) for row in table])
            draw_mean(axis, style, steps, table)
    baseline = mean_at_start(drawn.curves, panel.metric)
    if baseline is not None and panel.metric != KL:
        axis.axhline(baseline, zorder=1, **BASELINE)
    axis.set_xlabel("PPO step")
    axis.set_ylabel(panel.unit)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.margins(x=0.02)


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


def _caption(arms: Sequence[ArmInfo], drawn: Thinned) -> str:
    counts = [sum(curve.arm == arm.name for curve in drawn.curves) for arm in arms]
    low, high = min(counts), max(counts)
    seeds = f"{low} seed{'s' if low > 1 else ''}" if low == high else f"{low} to {high} seeds"
    if high == 1:
        return "One seed: no bands." + drawn.note
    thin_lines = " (thin lines: each seed)" if drawn.with_seeds else ""
    return f"Mean over {seeds}{thin_lines}; bands: ± 1 standard error of the mean.{drawn.note}"
