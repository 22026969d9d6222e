"""Pictures of panels: together in a file, with legend and caption, or each panel on its own.

A file has to speak for itself. A page has one legend for all its panels, and shows each as wide as
the screen allows.
"""

import io
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .look import LOOK, save_figure

PANEL_HEIGHT = 3.4  # inches
_PANEL_WIDTH = 3.7
_LONE_WIDTH = 4.6
_LETTERS_AN_INCH = 11.5  # of the caption


@dataclass(frozen=True)
class Panel:
    """One pair of axes, and how to draw what is in it."""

    name: str
    """Lower case, with hyphens."""
    title: str
    draw: Callable[[Axes], None]
    height: float = PANEL_HEIGHT
    """In inches."""


@dataclass(frozen=True)
class Picture:
    """Panels that share a legend."""

    name: str
    """Of the file, without suffix."""
    title: str
    caption: str
    """What lines, points and bands are; one sentence or two."""
    panels: tuple[Panel, ...]
    entries: tuple[Line2D, ...] = ()
    """Of the legend."""
    by_arm: bool = True
    """Whether lines are arms; a page that has a legend of the arms needs no other then."""
    beyond_arms: str = ""
    """What such a legend leaves to be said."""


def save_picture(picture: Picture, stem: Path, *, title: str = "") -> tuple[Path, Path]:
    """Writes a picture, its panels abreast, as PNG and SVG; returns their paths.

    Args:
        picture: What is drawn.
        stem: Path without suffix; its folder is made.
        title: Printed above the panels.
    """
    count = len(picture.panels)
    width = _PANEL_WIDTH * max(2, count)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(width, max(panel.height for panel in picture.panels)))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, count, squeeze=False)[0]
        for axis, panel in zip(axes, picture.panels, strict=True):
            _draw(axis, panel)
        _lay_out(figure, picture, title)
        return save_figure(figure, stem)


def draw_panel(panel: Panel) -> str:
    """Returns the SVG of one panel, without legend; the same data give the same text."""
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(_LONE_WIDTH, panel.height))
        FigureCanvasAgg(figure)
        _draw(figure.subplots(), panel)
        figure.tight_layout()
        return _to_svg(figure)


def draw_swatch(entry: Line2D) -> str:
    """Returns the SVG of an entry of a legend, without its words."""
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(0.5, 0.16))
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        axis.set(xlim=(0, 1), ylim=(0, 1))
        axis.plot(
            [0.02, 0.98], [0.5, 0.5], color=entry.get_color(), linestyle=entry.get_linestyle()
        )
        axis.plot([0.5], [0.5], color=entry.get_color(), marker=entry.get_marker())
        figure.patch.set_visible(False)
        return _to_svg(figure)


def _draw(axis: Axes, panel: Panel) -> None:
    axis.set_title(panel.title, loc="left", fontweight="bold")
    panel.draw(axis)


def _to_svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    return stream.getvalue()


def _lay_out(figure: Figure, picture: Picture, title: str) -> None:
    """Title above, legend and caption below the panels, in inches added for them."""
    width, panel_height = figure.get_size_inches()
    labels = [str(entry.get_label()) for entry in picture.entries]
    entry = 0.9 + 0.086 * max(map(len, labels), default=0)  # about what the longest takes
    columns = max(1, int(width // entry))
    lines = textwrap.fill(picture.caption, int(width * _LETTERS_AN_INCH))
    under = 0.16 * lines.count("\n")  # more than one line of caption
    below = 0.4 + under + 0.24 * math.ceil(len(labels) / columns)
    above = 0.35 if title else 0.0
    height = panel_height + below + above
    figure.set_size_inches(width, height)
    figure.text(0.01, 1 - 0.08 / height, title, ha="left", va="top", fontsize=13)
    figure.text(0.5, 0.08 / height, lines, ha="center", va="bottom", fontsize=10, color="#444444")
    if labels:
        figure.legend(
            handles=picture.entries,
            loc="lower center",
            bbox_to_anchor=(0.5, (0.22 + under) / height),
            ncols=columns,
            fontsize=LOOK["font.size"] * min(1.0, 0.97 * width / entry),
            handlelength=3.2,
            columnspacing=1.6,
        )
    figure.tight_layout(rect=(0, below / height, 1, 1 - above / height), w_pad=1.5)
