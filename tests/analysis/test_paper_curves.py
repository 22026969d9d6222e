"""The paper's released curves through our statistics: the paired figures in PAPER.md come out.

Their AUC is the plain mean of the training reward over the first 101 steps (IMDb) or 201 (others).
"""

import json
from pathlib import Path
from statistics import fmean

import pytest

from abcrl.analysis import Finding, PairedContrast, contrast_arms

CURVES = Path(__file__).parents[3] / "shared" / "paper" / "curves.json"

pytestmark = pytest.mark.skipif(
    not CURVES.is_file(),
    reason="the paper's released curves, ../shared/paper/curves.json, are not on this machine",
)


def contrast(experiment: str, arm: str, baseline: str) -> PairedContrast:
    data = json.loads(CURVES.read_text())[experiment]
    runs = data.get("reward", data)
    steps = 101 if experiment == "imdb" else 201
    means = {
        name: {seed: fmean(run[:steps]) for seed, run in enumerate(runs[name])}
        for name in (arm, baseline)
    }
    return contrast_arms([(arm, baseline)], means)[0]


@pytest.mark.parametrize(
    ("experiment", "arm", "baseline", "mean", "half_width", "p"),
    [
        ("imdb", "abc", "rlhf", 1.10, 0.35, 0.0020),
        ("imdb", "abc", "uniform", 1.71, 0.30, 0.0020),
        ("tldr", "abc", "rlhf", 0.15, 0.13, 0.125),
        ("openllama", "abc", "rlhf", 0.78, 0.22, 0.0625),
        ("openllama", "abc", "uniform", 0.12, 0.08, 0.0625),
    ],
)
def test_paired_figures_of_the_paper(experiment, arm, baseline, mean, half_width, p):
    result = contrast(experiment, arm, baseline)
    assert result.mean == pytest.approx(mean, abs=0.005)
    assert result.interval is not None
    assert result.interval.half_width == pytest.approx(half_width, abs=0.005)
    assert result.p_value == pytest.approx(p, abs=0.00005)


def test_ten_seeds_give_a_verdict_and_five_cannot():
    assert contrast("imdb", "abc", "rlhf").finding is Finding.HIGHER
    assert contrast("openllama", "abc", "rlhf").finding is Finding.TOO_FEW_SEEDS
