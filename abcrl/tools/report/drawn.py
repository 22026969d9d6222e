"""The figures of a report: saved beside it for other uses, and inlined in the page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from abcrl.analysis.figures.credit_profile import credit_profiles
from abcrl.analysis.figures.learning_curves import learning_curves
from abcrl.analysis.figures.look import legend_line, style_of
from abcrl.analysis.figures.paired_differences import paired_differences
from abcrl.analysis.figures.pictures import Picture, draw_panel, draw_swatch, save_picture
from abcrl.analysis.figures.sweep import sweep_picture
from abcrl.analysis.figures.training_course import training_course
from abcrl.analysis.figures.training_path import training_path

from .contents import Report
from .inline import inline_svg

MOST_BYTES = 2_200_000
"""What all figures may take on the page."""


@dataclass(frozen=True)
class Drawn:
    """A picture as it stands on the page."""

    name: str
    title: str
    caption: str
    panels: tuple[Markup, ...]
    """One SVG for each panel, so that a narrow screen can have them one below the other; none of a
    picture that is too large for the page."""
    legend: tuple[tuple[Markup, str], ...]
    """Swatch and label of each line; empty where lines are arms."""


def picture_report(report: Report) -> list[Picture]:
    """Returns the figures that the report's data allow."""
    found = report.found
    usable = found.usable
    if not usable:
        course = training_course(report.rows)
        return [] if course is None else [course]
    pictures = [
        learning_curves(found.arms, usable),
        training_path(found.arms, usable),
        paired_differences(found.summary.contrasts),
        credit_profiles(found.arms, report.profiles),
        *(sweep_picture(axis, found.summary) for axis in report.sweep),
    ]
    return [picture for picture in pictures if picture is not None]


def draw_all(pictures: Sequence[Picture], *, most_bytes: int = MOST_BYTES) -> list[Drawn]:
    """Returns the pictures for the page, in their order; for those that do not fit, their place."""
    drawn, left = [], most_bytes
    for picture in pictures:
        one = draw(picture)
        size = sum(len(panel) for panel in one.panels)
        fits = size <= left
        left -= size if fits else 0
        drawn.append(one if fits else replace(one, panels=(), legend=()))
    return drawn


def draw(picture: Picture) -> Drawn:
    """Returns a picture for the page."""
    caption = f"{picture.caption} {picture.beyond_arms}".rstrip()
    panels = tuple(
        inline_svg(draw_panel(one), f"{picture.name}-{one.name}", f"{one.title}. {caption}")
        for one in picture.panels
    )
    entries = () if picture.by_arm else picture.entries
    legend = tuple(
        (
            inline_svg(draw_swatch(entry), f"{picture.name}-swatch-{number}", ""),
            str(entry.get_label()),
        )
        for number, entry in enumerate(entries)
    )
    return Drawn(picture.name, picture.title, caption, panels, legend)


def swatches(arms: int) -> list[Markup]:
    """Returns line and marker of each arm, as the figures draw it."""
    return [
        inline_svg(draw_swatch(legend_line(style_of(place), "")), f"swatch-{place}", "")
        for place in range(arms)
    ]


def save_pictures(pictures: list[Picture], folder: Path) -> None:
    """Writes the pictures as PNG and SVG, each with its own legend and caption."""
    for picture in pictures:
        save_picture(picture, folder / picture.name)
