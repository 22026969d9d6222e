"""A sweep: score and KL against the value that was varied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes

from abcrl.analysis.collect import ArmSummary, SeedSpread, Summary

from .look import Style, draw_mean, legend_line, style_of
from .pictures import Panel, Picture


@dataclass(frozen=True)
class SweepAxis:
    """One key of a sweep, and which arms stand at each of its values."""

    key: str
    """Dotted, e.g. `kl.coef`."""
    values: tuple[str, ...]
    """As written, in the order given."""
    arms: Mapping[str, Sequence[Sequence[str]]]
    """By base arm, for each value: the names of its arms there, several if other keys vary too."""


def sweep_picture(axis: SweepAxis, summary: Summary) -> Picture:
    """Returns score and final KL against the swept value, a line for each base arm.

    With several swept keys each point is a mean over the others' values, seed by seed.

    Args:
        axis: The key, with the arms at each value.
        summary: Of all these arms.
    """
    by_name = {one.arm.name: one for one in summary.arms}
    others = any(len(names) > 1 for rows in axis.arms.values() for names in rows)
    styles = [(style_of(n), base) for n, base in enumerate(axis.arms)]
    panels = [
        Panel(name, title, partial(_draw, axis, styles, by_name, (metric, unit)))
        for name, title, metric, unit in (
            ("score", "Score over training", "", "mean held-out score over training"),
            ("kl", "Final KL", "kl_exact", "nats per response"),
        )
        if not metric or any(metric in one.finals for one in summary.arms)
    ]
    caption = "Mean over seeds; bands: ± 1 standard error of the mean."
    if others:
        caption += " Each point is a mean over the other swept values."
    return Picture(
        name=f"sweep-{axis.key}",
        title=f"Sweep of {axis.key}",
        caption=caption,
        panels=tuple(panels),
        entries=tuple(legend_line(style, base) for style, base in styles),
        by_arm=False,
    )


def _draw(
    sweep: SweepAxis,
    styles: Sequence[tuple[Style, str]],
    arms: Mapping[str, ArmSummary],
    quantity: tuple[str, str],
    axis: Axes,
) -> None:
    metric, unit = quantity
    places = range(len(sweep.values))
    for style, base in styles:
        cells = [[arms[name] for name in names] for names in sweep.arms[base]]
        seeds = sorted({seed for row in cells for arm in row for seed in arm.seeds})
        table = [[_mean_of(row, metric, seed) for row in cells] for seed in seeds]
        if table:
            draw_mean(axis, style, places, np.array(table))
    axis.set_xticks(list(places), sweep.values)
    axis.set_xlabel(sweep.key)
    axis.set_ylabel(unit)
    axis.margins(x=0.06)


def _mean_of(arms: Sequence[ArmSummary], metric: str, seed: int) -> float:
    """Returns a quantity at one point and seed; NaN unless every arm there has it."""
    values = [_value(arm, metric, seed) for arm in arms]
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(arms) else np.nan


def _value(arm: ArmSummary, metric: str, seed: int) -> float | None:
    spread: SeedSpread | None = arm.finals.get(metric) if metric else arm.auc
    if spread is None or seed not in arm.seeds:
        return None
    return spread.values[arm.seeds.index(seed)]
