"""The course of a supervised training: loss, and what was measured on held-out texts."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .look import Style, legend_line, style_of
from .pictures import Panel, Picture

_MOST_ROWS = 4000
_LINES = {
    "train/loss": "training loss",
    "eval/loss": "held-out loss",
    "eval/nll": "held-out negative log-likelihood",
    "eval/accuracy": "held-out accuracy",
    "eval/accuracy_truncated": "held-out accuracy, texts cut short",
}
_PANELS = (
    ("loss", "Loss", "nats", ("train/loss", "eval/loss", "eval/nll")),
    ("accuracy", "Accuracy", "share", ("eval/accuracy", "eval/accuracy_truncated")),
)

Points = Sequence[tuple[int, float]]


def training_course(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """Returns loss and held-out accuracy against the optimizer step; None where there is neither.

    Args:
        rows: Of metrics.jsonl, as sft or train-rm writes it; what in them is no number is left out.
    """
    stride = max(1, math.ceil(len(rows) / _MOST_ROWS))
    known = {name: _points(rows, name, stride) for name in _LINES}
    styles = {name: style_of(place) for place, name in enumerate(_LINES)}
    panels = []
    for name, title, unit, metrics in _PANELS:
        lines = [(styles[one], known[one]) for one in metrics if known[one]]
        if lines:
            panels.append(Panel(name, title, partial(_draw, lines, unit)))
    if not panels:
        return None
    left_out = f" Of each {stride} rows one is drawn." if stride > 1 else ""
    return Picture(
        name="training-course",
        title="Training course",
        caption=f"Training loss, and what was measured on held-out texts.{left_out}",
        panels=tuple(panels),
        entries=tuple(legend_line(styles[one], _LINES[one]) for one in _LINES if known[one]),
        by_arm=False,
    )


def _points(rows: Sequence[Mapping[str, Any]], name: str, stride: int) -> Points:
    """Returns step and value of each row that has both; of training losses every so many."""
    having = [
        (row["step"], row[name]) for row in rows if _is_finite(row.get(name)) and _is_step(row)
    ]
    return having[:: stride if name.startswith("train/") else 1]


def _is_step(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("step"), int) and 0 <= row["step"] < 2**53


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e40  # of NaN, too


def _draw(lines: Sequence[tuple[Style, Points]], unit: str, axis: Axes) -> None:
    for style, points in lines:
        axis.plot(*zip(*points, strict=True), **style.line(axis, len(points)))
    axis.set_xlabel("optimizer step")
    axis.set_ylabel(unit)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.margins(x=0.02)
