"""The declared contrasts, each with its pairs: what the verdicts are about."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from abcrl.analysis.contrasts import Finding, PairedContrast

from .pictures import Panel, Picture

_ROW_HEIGHT, _MARGINS = 0.52, 1.0  # inches
_LETTERS_ABREAST = 50
_DECIDED = "#0072B2"
_OPEN = "#444444"


def paired_differences(contrasts: Sequence[PairedContrast]) -> Picture | None:
    """Returns each contrast's differences, seed by seed, with mean and interval; None without any.

    Args:
        contrasts: In the order they were declared; those without a pair keep their row.
    """
    if not any(contrast.differences for contrast in contrasts):
        return None
    height = _MARGINS + _ROW_HEIGHT * len(contrasts)
    return Picture(
        name="paired-differences",
        title="Paired differences",
        caption="Difference of the two arms' mean held-out scores over training. Small dots: each "
        "seed; diamond and bar: mean and 95 % t interval (from 5 pairs on). Filled: a verdict of "
        "difference after Holm.",
        panels=(Panel("auc", "Paired differences", partial(_draw, contrasts), height),),
    )


def _draw(contrasts: Sequence[PairedContrast], axis: Axes) -> None:
    axis.axvline(0, color="#555555", linewidth=1.1, zorder=1)
    for row, contrast in enumerate(contrasts):
        _draw_row(axis, -row, contrast)
    axis.set_ylim(-len(contrasts) + 0.45, 0.75)
    axis.set_yticks([])
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.margins(x=0.06)
    axis.set_xlabel("difference in mean held-out score")


def _draw_row(axis: Axes, y: float, contrast: PairedContrast) -> None:
    label = f"{contrast.arm} − {contrast.baseline}"  # noqa: RUF001 - a minus sign
    axis.text(
        0.0,
        y + 0.24,
        label,
        transform=axis.get_yaxis_transform(),
        fontsize=10 * min(1.0, _LETTERS_ABREAST / len(label)),
        va="bottom",
        # The zero line passes behind the words.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        zorder=2,
    )
    decided = contrast.finding in {Finding.HIGHER, Finding.LOWER}
    color = _DECIDED if decided else _OPEN
    axis.plot(
        contrast.differences,
        [y] * len(contrast.differences),
        linestyle="",
        marker="o",
        markersize=4.5,
        color=color,
        alpha=0.35,
        markeredgewidth=0,
    )
    if contrast.interval is not None:
        ends = (contrast.interval.low, contrast.interval.high)
        axis.plot(ends, (y, y), color=color, linewidth=2.2, solid_capstyle="butt", zorder=3)
    if contrast.mean is not None:
        face = color if decided else "white"
        axis.plot(
            [contrast.mean],
            [y],
            linestyle="",
            marker="D",
            markersize=7,
            color=color,
            markerfacecolor=face,
            markeredgewidth=1.4,
            zorder=4,
        )
