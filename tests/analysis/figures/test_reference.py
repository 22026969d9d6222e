"""The figure of two sources: a panel for each arm, the same data the same file."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from abcrl.analysis import ArmInfo
from abcrl.analysis.figures.reference import plot_against
from abcrl.analysis.reference_curves import CurveComparison, hold_against
from abcrl.analysis.reference_file import ReferenceCurves, TrainingCurve


def compare(arms: int, *, kl: bool = False, steps: int = 12, seeds: int = 3) -> CurveComparison:
    generator = np.random.default_rng(0)

    def runs(names: list[str], *, with_kl: bool) -> list[TrainingCurve]:
        return [
            TrainingCurve(
                name,
                seed,
                tuple(generator.normal(size=steps)),
                tuple(generator.normal(size=steps)) if with_kl else (),
            )
            for name in names
            for seed in range(seeds)
        ]

    names = [f"arm-{number}" for number in range(arms)]
    infos = [ArmInfo(name, "abc", 0.5, 0.95) for name in names]
    theirs = tuple(runs(names[:-1] or names, with_kl=kl))
    reference = ReferenceCurves("some/name", "curves.json", theirs)
    return hold_against(infos, runs(names, with_kl=True), reference)


def count_visible_panels(svg: Path) -> int:
    groups = ET.parse(svg).iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


@pytest.mark.parametrize(
    ("arms", "kl", "panels"), [(1, False, 1), (2, True, 4), (5, False, 5), (5, True, 10)]
)
def test_each_arm_has_a_panel_for_what_the_file_knows(tmp_path, arms, kl, panels):
    png, svg = plot_against(compare(arms, kl=kl), tmp_path / "deep" / "against-x")
    assert (png.name, svg.name) == ("against-x.png", "against-x.svg")
    assert count_visible_panels(svg) == panels
    assert imread(png).shape[1] >= 1000


def test_the_same_data_give_the_same_files(tmp_path):
    first = plot_against(compare(3, kl=True), tmp_path / "a")
    second = plot_against(compare(3, kl=True), tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_their_curve_is_drawn_where_there_is_one(tmp_path):
    compared = compare(2)
    alone = replace(
        compared, arms=tuple(replace(arm, theirs=None, counterpart=None) for arm in compared.arms)
    )
    pictures = [
        imread(plot_against(one, tmp_path / name)[0])[..., :3]
        for name, one in (("both", compared), ("alone", alone))
    ]

    # Above the legend, vermilion stands for theirs and for nothing else.
    def vermilion(picture: np.ndarray) -> int:
        red, green, blue = np.moveaxis(picture[: int(0.7 * len(picture))], -1, 0)
        return int(((red > 0.7) & (green < 0.5) & (blue < 0.2)).sum())

    assert vermilion(pictures[0]) > 100
    assert vermilion(pictures[1]) == 0


@pytest.mark.parametrize(("steps", "seeds"), [(1, 1), (1, 3), (2, 1)])
def test_one_step_and_one_seed_are_drawn(tmp_path, steps, seeds):
    _, svg = plot_against(compare(2, kl=True, steps=steps, seeds=seeds), tmp_path / "x")
    assert count_visible_panels(svg) == 4
