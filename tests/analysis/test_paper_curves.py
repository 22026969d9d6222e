"""The paper's released curves through our statistics: the figures of its README come out.

Their AUC is the plain mean of the training reward over the first 101 steps (IMDb) or 201 (others).
"""

import json
from pathlib import Path

import pytest

from abcrl.analysis import ArmInfo, Contrast, Finding, PairedContrast, contrast_arms
from abcrl.analysis.reference_curves import CurveComparison, hold_against
from abcrl.analysis.reference_file import TrainingCurve, read_reference_curves

CURVES = Path(__file__).parents[2] / "experiments" / "paper" / "curves.json"
ORIGINAL = Path(__file__).parents[3] / "shared" / "paper" / "curves.json"

BETAS = {"abc": 0.8, "rlhf": None, "uniform": 1.0, "abc-d": 0.8, "abc-d2": 0.8}
STEPS = {"imdb": 101, "tldr": 201, "openllama": 201}


def hold_against_itself(experiment: str, steps: int) -> CurveComparison:
    """The released runs as if they were ours, up to a step."""
    reference = read_reference_curves(f"{CURVES}:{experiment}")
    arms = [ArmInfo(name, name, BETAS[name], 0.95) for name in reference.arms]
    ours = [TrainingCurve(run.arm, run.seed, run.score[:steps]) for run in reference.runs]
    return hold_against(arms, ours, reference)


def contrast(experiment: str, arm: str, baseline: str) -> PairedContrast:
    compared = hold_against_itself(experiment, STEPS[experiment])
    means = {
        one.arm.name: {run.seed: sum(run.score) / len(run.score) for run in one.theirs.runs}
        for one in compared.arms
        if one.theirs is not None
    }
    return contrast_arms([Contrast(arm, baseline)], means)[0]


@pytest.mark.skipif(
    not ORIGINAL.is_file(), reason="../shared/paper/curves.json is not on this machine"
)
def test_the_copy_holds_the_released_numbers():
    assert json.loads(CURVES.read_text()) == json.loads(ORIGINAL.read_text())


@pytest.mark.parametrize(
    ("experiment", "steps", "aucs"),
    [
        ("imdb", 101, {"abc": 8.32, "rlhf": 7.21, "abc-d2": 7.10, "abc-d": 6.89, "uniform": 6.60}),
        ("tldr", 201, {"abc": 9.18, "rlhf": 9.03, "uniform": 9.03}),
        ("openllama", 201, {"abc": 6.55, "rlhf": 5.78, "uniform": 6.44}),
        ("generation_length/140-160", 151, {"abc": 10.77, "rlhf": 7.03, "uniform": 9.29}),
    ],
)
def test_aucs_of_the_paper_come_out_on_both_sides(experiment, steps, aucs):
    compared = hold_against_itself(experiment, steps)
    assert compared.steps == steps
    for one in compared.arms:
        assert one.theirs is not None
        assert one.ours.auc == one.theirs.auc
        if one.arm.name in aucs:
            assert one.theirs.auc == pytest.approx(aucs[one.arm.name], abs=0.005)


def test_the_mean_rises_with_beta():
    reference = read_reference_curves(f"{CURVES}:beta_sweep")
    arms = [ArmInfo(f"abc-{name}", "abc", float(name), 0.95) for name in reference.arms]
    ours = [TrainingCurve(f"abc-{run.arm}", run.seed, run.score) for run in reference.runs]
    compared = hold_against(arms, ours, reference)
    assert (compared.steps, compared.baseline) == (251, "abc-0.0")
    means = {one.counterpart: one.theirs for one in compared.arms}
    for beta, auc in (("0.0", 7.94), ("0.8", 8.64), ("1.0", 8.80)):
        side = means[beta]
        assert side is not None
        assert side.auc == pytest.approx(auc, abs=0.005)
    nine = means["0.5"]
    assert nine is not None
    assert nine.difference is not None
    # Which run is missing is told by the batches that the others began with.
    assert nine.difference.seeds == (0, 1, 2, 3, 4, 5, 6, 7, 9)


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


def test_runs_of_the_length_experiment_pair_only_where_their_batches_do():
    compared = hold_against_itself("generation_length/20-30", 151)
    differences = {
        one.arm.name: one.theirs.difference for one in compared.arms if one.theirs is not None
    }
    pairs = {name: len(one.seeds) for name, one in differences.items() if one is not None}
    assert pairs == {"abc": 10, "uniform": 10, "abc-d": 0, "abc-d2": 0}


def test_ten_seeds_give_a_verdict_and_five_cannot():
    assert contrast("imdb", "abc", "rlhf").finding is Finding.HIGHER
    assert contrast("openllama", "abc", "rlhf").finding is Finding.TOO_FEW_SEEDS
