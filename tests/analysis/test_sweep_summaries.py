"""What stands at one point of a sweep is held against what stands there too."""

import pytest

from abcrl.analysis import ArmInfo, CellCurve, Contrast, Summary, summarise
from tests.analysis.made_up_cells import cell


def arm(base: str, point: str = "") -> ArmInfo:
    beta = None if base.startswith("rlhf") else 0.8
    return ArmInfo(f"{base}@{point}" if point else base, base, beta, 0.95, point)


LOW, HIGH = "kl.coef=0.05", "kl.coef=0.2"
ARMS = [arm(base, point) for point in (LOW, HIGH) for base in ("abc", "uniform", "rlhf")]
CONTRASTS = [
    Contrast(f"{one}@{point}", f"rlhf@{point}") for point in (LOW, HIGH) for one in ("abc",)
]
ENDS = {
    LOW: {"abc": 4.0, "uniform": 3.0, "rlhf": 2.0},
    HIGH: {"abc": 0.5, "uniform": 1.0, "rlhf": 1.0},
}


def cells() -> list[CellCurve]:
    return [
        cell(one, seed, 0.0, ENDS[one.point][one.mode] / 2, ENDS[one.point][one.mode])
        for one in ARMS
        for seed in (1, 2)
    ]


@pytest.fixture
def swept() -> Summary:
    return summarise(ARMS, cells(), CONTRASTS)


def test_an_arm_is_held_against_the_baseline_at_its_own_point(swept):
    assert swept.baselines == {
        f"{base}@{point}": f"rlhf@{point}" for point in (LOW, HIGH) for base in ("abc", "uniform")
    }
    assert swept.baseline is None
    # AUC is half of where a straight line from 0 ends.
    assert {name: one.differences for name, one in swept.differences.items()} == {
        f"abc@{LOW}": (1.0, 1.0),
        f"uniform@{LOW}": (0.5, 0.5),
        f"abc@{HIGH}": (-0.25, -0.25),
        f"uniform@{HIGH}": (0.0, 0.0),
    }


def test_steps_to_the_gain_are_those_to_what_the_baseline_gains_at_that_point(swept):
    low, high = swept.arrivals
    assert (low.baseline, high.baseline) == (f"rlhf@{LOW}", f"rlhf@{HIGH}")
    assert (low.threshold, high.threshold) == (pytest.approx(1.8), pytest.approx(0.9))
    assert list(low.steps) == [f"{base}@{LOW}" for base in ("abc", "uniform", "rlhf")]
    assert [(one.arm, one.baseline) for one in high.contrasts] == [(f"abc@{HIGH}", f"rlhf@{HIGH}")]
    assert low.contrasts[0].differences == pytest.approx((-9.0, -9.0))
    assert high.censored(f"abc@{HIGH}") == 2


def test_a_baseline_without_gain_takes_nothing_from_the_other_points():
    flat = [one for one in cells() if one.arm != f"rlhf@{HIGH}"]
    flat += [cell(ARMS[-1], seed, 0.0, 0.0, 0.0) for seed in (1, 2)]
    low, high = summarise(ARMS, flat, CONTRASTS).arrivals
    assert low.reason == ""
    assert high.reason == f"rlhf@{HIGH} gained nothing"


def test_a_point_at_which_no_contrast_is_declared_has_no_baseline():
    summary = summarise(ARMS, cells(), CONTRASTS[:1])
    assert set(summary.baselines) == {f"abc@{LOW}", f"uniform@{LOW}"}
    assert summary.baseline == f"rlhf@{LOW}"
    assert len(summary.arrivals) == 1


def test_an_arm_that_the_sweep_does_not_reach_is_the_baseline_of_every_point():
    arms = [
        arm("rlhf"),
        arm("rlhf-lambda-1"),
        arm("abc", "reward.beta=0.2"),
        arm("abc", "reward.beta=1"),
    ]
    contrasts = [Contrast(one.name, "rlhf") for one in arms[2:]]
    curves = [cell(one, 1, 0.0, number / 2, float(number)) for number, one in enumerate(arms, 1)]
    summary = summarise(arms, curves, contrasts)
    assert summary.baselines == {one.name: "rlhf" for one in arms[2:]}
    assert summary.baseline == "rlhf"
    (arrivals,) = summary.arrivals
    assert set(arrivals.steps) == {"rlhf", *(one.name for one in arms[2:])}
    # 90 % of rlhf's gain of 1; those that gain 3 and 4 are there after 6 and 4.5 steps.
    assert arrivals.mean("abc@reward.beta=0.2") == pytest.approx(6.0)


def test_equal_kl_is_the_same_for_all_points(swept):
    (level, *_) = swept.equal_kl.levels
    assert [(one.arm, one.baseline) for one in level.contrasts] == [
        tuple(one[:2]) for one in CONTRASTS
    ]
    assert set(level.scores) == {one.name for one in ARMS}
