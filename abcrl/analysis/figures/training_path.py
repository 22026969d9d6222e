"""The training path: which score was reached at which KL."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from abcrl.analysis.curves import KL, SCORE, ArmInfo, CellCurve

from .learning_curves import arms_with, legend_entries
from .look import Style, draw_seeds
from .pictures import Panel, Picture
from .thinning import Thinned, thin


def training_path(arms: Sequence[ArmInfo], curves: Sequence[CellCurve]) -> Picture | None:
    """Returns held-out score against exact KL; None where no cell has both.

    A thin line is one seed's path. The thick one joins, evaluation by evaluation, the mean KL and
    the mean score over the seeds, so it is no curve of "score at this KL".

    Args:
        arms: In the order of the tables.
        curves: The finished cells, evaluated over the same steps.
    """
    usable = [curve for curve in curves if KL in curve.metrics]
    if not usable:
        return None
    shown = arms_with(usable, arms)
    drawn = thin(usable, panels=1)
    seeds = "Thin lines: each seed; thick: mean over seeds at each evaluation. "
    if not drawn.with_seeds:
        seeds = "Lines: mean over seeds at each evaluation. "
    return Picture(
        name="training-path",
        title="Training path",
        caption=(seeds if len(usable) > len(shown) else "")
        + "A training path, no frontier: how score and KL trade off takes several KL coefficients."
        + drawn.note,
        panels=(Panel("score-kl", "Score against KL", partial(_draw, shown, drawn)),),
        entries=legend_entries(shown, ()),
    )


def _draw(arms: Sequence[tuple[Style, ArmInfo]], drawn: Thinned, axis: Axes) -> None:
    for style, arm in arms:
        own = [curve for curve in drawn.curves if curve.arm == arm.name]
        if drawn.with_seeds:
            draw_seeds(axis, style, [(one.metrics[KL], one.metrics[SCORE]) for one in own])
        shared = sorted(set.intersection(*(set(curve.steps) for curve in own)))
        kl, score = (_means_at(own, name, shared) for name in (KL, SCORE))
        axis.plot(kl, score, **style.line(axis, len(shared)))
    axis.set_xlabel("KL to the SFT model, nats per response")
    axis.set_ylabel("held-out score")
    axis.margins(x=0.02)


def _means_at(curves: Sequence[CellCurve], name: str, steps: Sequence[int]) -> list[float]:
    table = [dict(zip(curve.steps, curve.metrics[name], strict=True)) for curve in curves]
    return [float(np.mean([row[step] for row in table])) for step in steps]
