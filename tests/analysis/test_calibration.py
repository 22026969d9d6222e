"""Judged grids whose truth is known: how often what is said of them is wrong.

Bounds are binomial: with other random numbers a right implementation would leave one in 1e5.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from scipy import stats

from abcrl.analysis import Contrast, Finding, Margin, contrast_arms
from abcrl.analysis.equivalence import examine_margins
from abcrl.analysis.statistics import detectable_effect

DIRECTIONS = {Finding.HIGHER, Finding.LOWER}
LARGE = 20.0
# As hh-small declares them: two share rlhf, four share abc.
FAMILY = [
    Contrast("abc", "rlhf"),
    Contrast("rlhf-lambda1", "rlhf"),
    Contrast("abc", "rlhf-lambda1"),
    Contrast("abc", "uniform"),
    Contrast("abc", "shuffled"),
]
ONE = FAMILY[:1]


def at_most(rate: float, grids: int) -> int:
    return int(stats.binom.isf(1e-5, grids, rate))


def at_least(rate: float, grids: int) -> int:
    return int(stats.binom.ppf(1e-5, grids, rate))


def draw_bimodal(generator, size):
    """One run in seven collapses."""
    return generator.normal(size=size) - 6 * (generator.random(size) < 1 / 7)


def draw_normal(generator, size):
    return generator.normal(size=size)


def grids_of(
    contrasts, seeds, noise=draw_normal, **effects
) -> Iterator[dict[str, dict[int, float]]]:
    """Arms that share what a seed adds, three times their own noise."""
    generator = np.random.default_rng(20_261_123)
    arms = list(dict.fromkeys(name for one in contrasts for name in one[:2]))
    while True:
        shared = 3 * generator.normal(size=seeds)
        cells = shared + noise(generator, (len(arms), seeds))
        yield {
            arm: dict(enumerate((row + effects.get(arm, 0.0)).tolist()))
            for arm, row in zip(arms, cells, strict=True)
        }


def is_directed(contrasts, grid, seeds) -> bool:
    judged = contrast_arms(contrasts, grid, range(seeds))
    return any(one.finding in DIRECTIONS for one in judged)


# Of 2^(n-1) assignments 5 % leave 1 of 32, 6 of 128: the level that exchangeable arms have exactly,
# whatever their distribution.
@pytest.mark.parametrize(
    ("seeds", "level", "noise"), [(6, 1 / 32, draw_bimodal), (8, 6 / 128, draw_normal)]
)
def test_one_contrast_without_an_effect_gets_a_verdict_at_the_level_of_the_test(
    seeds, level, noise
):
    grids = islice(grids_of(ONE, seeds, noise), 1000)
    wrong = sum(is_directed(ONE, grid, seeds) for grid in grids)
    assert at_least(level, 1000) <= wrong <= at_most(level, 1000)


def test_a_family_without_an_effect_rarely_gets_any_verdict():
    grids = islice(grids_of(FAMILY, 8), 400)
    assert sum(is_directed(FAMILY, grid, 8) for grid in grids) <= at_most(0.05, 400)


def test_an_effect_elsewhere_does_not_make_verdicts_of_the_others():
    wrong = 0
    for grid in islice(grids_of(FAMILY, 8, rlhf=LARGE), 400):
        judged = contrast_arms(FAMILY, grid, range(8))
        assert judged[0].finding is judged[1].finding is Finding.LOWER
        wrong += any(one.finding in DIRECTIONS for one in judged[2:])
    assert wrong <= at_most(0.05, 400)


def test_cells_missing_at_random_do_not_make_verdicts():
    generator = np.random.default_rng(1)
    wrong = 0
    for grid in islice(grids_of(ONE, 8), 1000):
        left = {
            arm: {seed: value for seed, value in cells.items() if generator.random() >= 0.05}
            for arm, cells in grid.items()
        }
        wrong += is_directed(ONE, left, 8)
    assert wrong <= at_most(0.05, 1000)


def test_an_arm_whose_low_runs_fail_is_not_better_for_it():
    generator = np.random.default_rng(2)
    wrong = alone = 0
    for _ in range(600):
        shared, abc, rlhf = 3 * generator.normal(size=10), *generator.normal(size=(2, 10))
        grid = {
            "abc": {seed: shared[seed] + abc[seed] for seed in range(10) if abc[seed] > -0.5},
            "rlhf": {seed: shared[seed] + rlhf[seed] for seed in range(10)},
        }
        wrong += is_directed(ONE, grid, 10)
        alone += contrast_arms(ONE, grid)[0].finding in DIRECTIONS
    assert wrong <= at_most(0.05, 600)
    assert alone > at_most(0.05, 600)  # as it would be if such cells were just left out


def test_a_family_of_differences_at_their_margins_is_rarely_called_smaller():
    levels = {arm: LARGE * number for number, arm in enumerate(["rlhf", "uniform", "x", "abc"])}
    contrasts = [
        Contrast("abc", other, Margin(levels["abc"] - levels[other]))
        for other in ("rlhf", "uniform", "x")
    ]
    grids = islice(grids_of(contrasts, 8, **levels), 600)
    found = [examine_margins(contrasts, grid, range(8)) for grid in grids]
    wrong = sum(any(one.equivalence.shown for one in judged if one.equivalence) for judged in found)
    assert wrong <= at_most(0.05, 600)


def test_a_difference_at_its_share_of_another_is_rarely_called_smaller():
    def draw(generator, size):
        # The baseline of the whole is the noisy one: most of the error is that of the margin.
        return generator.normal(size=size) * np.array([[1.0], [1.0], [3.0]])

    share = [Contrast("abc", "shuffled", Margin(0.5, ("abc", "rlhf"))), Contrast("abc", "rlhf")]
    wrong = 0
    for grid in islice(grids_of(share, 8, draw, abc=2 * LARGE, shuffled=LARGE), 2000):
        (one, _) = examine_margins(share, grid, range(8))
        assert one.equivalence is not None
        wrong += one.equivalence.shown
    # All differences are normal and far from the other margin: the level is exact.
    assert at_least(0.05, 2000) <= wrong <= at_most(0.05, 2000)


@pytest.mark.parametrize("seeds", [6, 8, 10])
def test_the_interval_holds_the_true_mean_in_95_of_100_grids(seeds):
    held = 0
    for grid in islice(grids_of(ONE, seeds, abc=0.7), 1000):
        interval = contrast_arms(ONE, grid, range(seeds))[0].interval
        assert interval is not None
        held += interval.low <= 0.7 <= interval.high
    assert at_least(0.95, 1000) <= held <= at_most(0.95, 1000)


def count_found(effect: float, seeds: int, contrasts: int, grids: int) -> int:
    """Of grids with an effect of so many deviations of the difference; the others have no cells."""
    family = [*ONE, *[Contrast("none", "rlhf")] * (contrasts - 1)]
    drawn = islice(grids_of(ONE, seeds, abc=effect * np.sqrt(2)), grids)
    judged = (contrast_arms(family, grid, range(seeds))[0] for grid in drawn)
    return sum(one.finding is Finding.HIGHER for one in judged)


@pytest.mark.parametrize(("seeds", "contrasts"), [(6, 1), (8, 5)])
def test_where_all_pairs_must_have_one_sign_the_power_is_that_they_have(seeds, contrasts):
    # The smallest p alone survives Holm: 2^-5 <= .05 < 2 * 2^-5, 5 * 2^-7 <= .05 < 10 * 2^-7.
    power = stats.norm.cdf(1.5) ** seeds
    found = count_found(1.5, seeds, contrasts, grids=1000)
    assert at_least(power, 1000) <= found <= at_most(power, 1000)


@pytest.mark.parametrize(("seeds", "contrasts"), [(8, 1), (10, 1), (6, 1), (8, 5)])
def test_the_detectable_effect_is_found_in_four_of_five_grids(seeds, contrasts):
    unit = np.linspace(-1, 1, seeds)
    effect = detectable_effect((unit / unit.std(ddof=1)).tolist(), contrasts=contrasts)
    assert effect is not None
    found = count_found(effect, seeds, contrasts, grids=1000)
    assert at_least(0.79, 1000) <= found <= at_most(0.81, 1000)
