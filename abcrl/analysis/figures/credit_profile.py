"""Where along the response credit falls: its share in each tenth, and how that looks."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from abcrl.analysis.curves import ArmInfo

from .learning_curves import label_arm
from .look import BASELINE, Style, draw_mean, legend_line, style_of
from .pictures import Panel, Picture

BINS = 10
_ALL = 0.999

Profiles = Mapping[str, Mapping[int, Sequence[float]]]
"""By arm and seed, `[BINS]`."""


def credit_profile(credits: Sequence[Sequence[float]]) -> list[float]:
    """Returns the share of the credit in each tenth of the response, mean over responses.

    Token j of r covers [j / r, (j + 1) / r] of its response, and its credit is spread evenly over
    that: with fewer tokens than bins a token counts in several. Uniform credit gives 0.1 to each.

    Args:
        credits: Of each response one weight for each token, summing to 1; at least one response.

    Returns:
        `[BINS]`, summing to 1.
    """
    edges = np.linspace(0, 1, BINS + 1)
    rows = [
        np.diff(np.interp(edges, np.linspace(0, 1, len(row) + 1), np.cumsum([0.0, *row])))
        for row in credits
    ]
    return [float(share) for share in np.mean(rows, axis=0)]


def credit_profiles(arms: Sequence[ArmInfo], profiles: Profiles) -> Picture | None:
    """Returns the profiles of all arms but the sparse ones; None where none is left.

    All credit on the last token is a line along zero and one point ten times as high as the others,
    which would hide all else: the caption names those arms.

    Args:
        arms: In the order of the tables.
        profiles: See `credit_profile`.
    """
    known = [(style_of(n), arm) for n, arm in enumerate(arms) if profiles.get(arm.name)]
    sparse = [arm for _, arm in known if _last_share(profiles[arm.name]) > _ALL]
    dense = [(style, arm) for style, arm in known if arm not in sparse]
    if not dense:
        return None
    caption = (
        "Mean share of the credit in each tenth of the response, at the last evaluation, before "
        "beta leaves a part of the score on the last token; dashed: uniform credit"
    )
    several = any(len(profiles[arm.name]) > 1 for _, arm in dense)
    caption += "; bands: ± 1 standard error over seeds." if several else "."
    if sparse:
        names = ", ".join(arm.name for arm in sparse)
        caption += f" Not drawn, as all of it is on the last token: {names}."
    return Picture(
        name="credit-profile",
        title="Credit along the response",
        caption=caption,
        panels=(Panel("credit", "Credit along the response", partial(_draw, dense, profiles)),),
        entries=tuple(legend_line(style, label_arm(arm)) for style, arm in dense),
    )


def _last_share(rows: Mapping[int, Sequence[float]]) -> float:
    return fmean(row[-1] for row in rows.values())


def _draw(arms: Sequence[tuple[Style, ArmInfo]], profiles: Profiles, axis: Axes) -> None:
    middles = (np.arange(BINS) + 0.5) / BINS
    for style, arm in arms:
        table: npt.NDArray[np.float64] = np.array(list(profiles[arm.name].values()), dtype=float)
        draw_mean(axis, style, middles, table)
    axis.axhline(1 / BINS, zorder=1, **BASELINE)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["first token", "middle", "last token"])
    first, _, last = axis.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axis.set_ylabel("share of the credit per tenth")
