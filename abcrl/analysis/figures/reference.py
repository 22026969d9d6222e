"""Our training curves and somebody else's on the same axes, as PNG and SVG."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abcrl.analysis.reference_curves import ArmCurves, CurveComparison, HeldAgainst

from .learning_curves import label_arm
from .look import LOOK, Style, draw_mean, legend_line, save_figure, style_of

_PANEL_WIDTH, _PANEL_HEIGHT = 2.9, 2.5  # inches
_MOST_ABREAST = 4
_LETTERS_ABREAST = 32
_OURS = style_of(0)
_THEIRS = Style(1, style_of(1).color, (0, (4, 1.5)), "")


def plot_against(compared: CurveComparison, stem: Path) -> tuple[Path, Path]:
    """Draws a panel for each of our arms, ours and its counterpart in it; returns PNG and SVG.

    Lines are means over the runs, bands one standard error of them. The panels of the training
    score share their scale. Where the file has KLs, a panel for each arm's KL follows, with a scale
    of its own: one that runs away would hide all others.

    Args:
        compared: At least one arm.
        stem: Path without suffix.
    """
    metrics = ["score", "kl"] if compared.reference.has_kl else ["score"]
    rows = math.ceil(len(compared.arms) / _MOST_ABREAST)
    columns = math.ceil(len(compared.arms) / rows)
    with mpl.rc_context(LOOK):
        figure = Figure()
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows * len(metrics), columns, squeeze=False)
        for block, metric in enumerate(metrics):
            panels = grid[block * rows : (block + 1) * rows].ravel()
            for position, (axis, arm) in enumerate(zip(panels, compared.arms, strict=False)):
                _draw_panel(axis, arm, metric, compared.steps)
                if position % columns == 0:
                    axis.set_ylabel("training score" if metric == "score" else "KL, nats")
                if position + columns >= len(compared.arms):
                    axis.set_xlabel("PPO step")
            for axis in panels[len(compared.arms) :]:
                axis.set_visible(False)
            if metric == "score":
                _share_scale(list(panels[: len(compared.arms)]))
        _lay_out(figure, compared, (rows * len(metrics), columns))
        return save_figure(figure, stem)


def _draw_panel(axis: Axes, arm: HeldAgainst, metric: str, steps: int) -> None:
    for style, side in ((_THEIRS, arm.theirs), (_OURS, arm.ours)):
        if side is not None:
            _draw_side(axis, style, side, metric)
    lines = textwrap.wrap(label_arm(arm.arm), _LETTERS_ABREAST)
    title = "\n".join([*lines, *([] if arm.theirs else ["no counterpart"])])
    axis.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axis.set_xlim(1, max(steps, 2))


def _draw_side(axis: Axes, style: Style, side: ArmCurves, metric: str) -> None:
    curves = [curve for run in side.runs if (curve := getattr(run, metric))]
    if curves:
        table = np.array(curves, dtype=np.float64)
        draw_mean(axis, style, range(1, table.shape[1] + 1), table)


def _share_scale(panels: Sequence[Axes]) -> None:
    limits = [axis.get_ylim() for axis in panels]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    for axis in panels:
        axis.set_ylim(low, high)


def _lay_out(figure: Figure, compared: CurveComparison, shape: tuple[int, int]) -> None:
    """Legend and caption below the panels, in inches added for them."""
    rows, columns = shape
    width = max(2, columns) * _PANEL_WIDTH
    below = 0.8
    height = rows * _PANEL_HEIGHT + below
    figure.set_size_inches(width, height)
    reference = compared.reference
    handles = [
        legend_line(_OURS, "this comparison"),
        legend_line(_THEIRS, f"{reference.name} ({reference.file})"),
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.36 / height),
        ncols=2,
        handlelength=3.6,
    )
    figure.text(
        0.5,
        0.12 / height,
        "Scores of the batches trained on, not held out. Mean over seeds; bands: ± 1 "
        "standard error.",
        ha="center",
        va="bottom",
        fontsize=9,
        color="#444444",
    )
    figure.tight_layout(rect=(0, below / height, 1, 1), w_pad=1.2, h_pad=1.2)
