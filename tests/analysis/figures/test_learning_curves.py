import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from abcrl.analysis import ArmInfo, CellCurve
from abcrl.analysis.figures.learning_curves import label_arm, plot_learning_curves
from abcrl.analysis.figures.look import PNG_DPI

ARMS = [
    ArmInfo("abc", "abc", 0.8, 0.95),
    ArmInfo("rlhf", "rlhf", None, 0.95),
    ArmInfo("rlhf-lambda-1", "rlhf", None, 1.0),
]


def make_curves(*metrics: str, seeds: int = 3) -> list[CellCurve]:
    steps = (0, 10, 20, 30)
    generator = np.random.default_rng(0)
    return [
        CellCurve(
            arm.name, seed, steps, {name: tuple(generator.normal(size=4)) for name in metrics}
        )
        for arm in ARMS
        for seed in range(seeds)
    ]


def count_panels(svg: Path) -> int:
    groups = ET.parse(svg).iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


@pytest.mark.parametrize(
    "metrics",
    [
        ["eval/score"],
        ["eval/score", "eval/kl_exact"],
        ["eval/score", "eval/gold_score", "eval/kl_exact"],
    ],
)
def test_there_is_a_panel_for_what_was_evaluated(tmp_path, metrics):
    png, svg = plot_learning_curves(ARMS, make_curves(*metrics), tmp_path / "deep" / "curves")
    assert (png.name, svg.name) == ("curves.png", "curves.svg")
    assert count_panels(svg) == len(metrics)
    assert PNG_DPI >= 160
    assert imread(png).shape[1] >= 1400


def test_the_same_data_give_the_same_files(tmp_path):
    curves = make_curves("eval/score", "eval/gold_score")
    first = plot_learning_curves(ARMS, curves, tmp_path / "a", title="Title")
    second = plot_learning_curves(ARMS, curves, tmp_path / "b", title="Title")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "<dc:date>" not in first[1].read_text()


def test_a_name_with_a_dot_keeps_it(tmp_path):
    png, _ = plot_learning_curves(ARMS, make_curves("eval/score"), tmp_path / "beta-0.8")
    assert png.name == "beta-0.8.png"


def test_one_seed_missing_values_and_arms_without_cells_are_drawn(tmp_path):
    curves = make_curves("eval/score", "eval/gold_score", seeds=1)[:2]
    nan = float("nan")
    curves.append(
        CellCurve("abc", 7, (0, 30), {"eval/score": (0.0, 1.0), "eval/gold_score": (nan, nan)})
    )
    _, svg = plot_learning_curves(ARMS, curves, tmp_path / "curves")
    assert count_panels(svg) == 2


def test_many_arms_with_long_names_keep_the_legend_inside(tmp_path):
    arms = [ArmInfo(f"{'x' * 60}-{n}", "abc", 0.8, 0.95) for n in range(12)]
    curves = [CellCurve(arm.name, 0, (0, 1), {"eval/score": (0.0, 1.0)}) for arm in arms]
    png, _ = plot_learning_curves(arms, curves, tmp_path / "curves")
    picture = imread(png)[..., :3]
    border = np.concatenate([picture[:, :4].ravel(), picture[:, -4:].ravel()])
    assert border.min() == 1.0  # nothing is cut off at the sides


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one finished cell"):
        plot_learning_curves(ARMS, [], tmp_path / "curves")


def test_labels_name_beta_and_lambda():
    assert [label_arm(arm) for arm in ARMS] == [
        "abc (β 0.8, λ 0.95)",
        "rlhf (λ 0.95)",
        "rlhf-lambda-1 (λ 1)",
    ]


def test_only_figures_pays_for_matplotlib_and_nobody_starts_pyplot():
    check = (
        "import sys, abcrl.analysis; assert 'matplotlib' not in sys.modules;"
        "import abcrl.analysis.figures.learning_curves;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", check], check=True, cwd=root)
