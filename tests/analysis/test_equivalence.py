"""Claims that a difference is too small to matter: only against a margin stated beforehand."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from abcrl.analysis import Contrast, Finding, Margin, contrast_arms, say_verdict
from abcrl.analysis.equivalence import Equivalence, examine_margins
from abcrl.analysis.statistics import adjust_holm

SEEDS = range(8)
RLHF = {seed: 1.0 + seed / 10 for seed in SEEDS}
NOISE = (0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.1)


def shifted(by: float, noise: float) -> dict[int, float]:
    return {seed: RLHF[seed] + by + noise * NOISE[seed] for seed in SEEDS}


VALUES = {"abc": shifted(0.02, 0.1), "rlhf": RLHF}


def judge_margins(
    contrasts: Sequence[Contrast],
    values: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int] | None = None,
) -> list[Equivalence | None]:
    return [one.equivalence for one in examine_margins(contrasts, values, seeds)]


def test_a_small_difference_with_little_noise_is_shown_to_be_small():
    # The noise has mean .0125 and s = .2031; a tenth of it: standard error .00718; t_{.95, 7} 1.89.
    contrast = Contrast("abc", "rlhf", Margin(0.1))
    (one,) = contrast_arms([contrast], {"abc": shifted(0.02, 0.1), "rlhf": RLHF})
    assert one.equivalence is not None
    assert one.equivalence.shown
    assert one.equivalence.interval.low == pytest.approx(0.02125 - 1.8946 * 0.00718, abs=1e-4)
    assert say_verdict(one).endswith(
        ". abc and rlhf differ by less than 0.100 (90 % interval [+0.008, +0.035]; p < .001, two "
        "one-sided tests)"
    )


def test_much_noise_shows_nothing():
    contrast = Contrast("abc", "rlhf", Margin(0.1))
    (one,) = contrast_arms([contrast], {"abc": shifted(0.0, 1.0), "rlhf": RLHF})
    assert one.equivalence is not None
    assert not one.equivalence.shown
    assert "That they differ by less than 0.10 is not shown" in say_verdict(one)


def test_a_share_of_another_contrast_is_taken_pair_by_pair():
    # abc - rlhf is 1 in every pair, so 20 % of it is .2; abc - shuffled is a tenth of the noise.
    values = {"abc": shifted(1.0, 0.0), "rlhf": RLHF, "shuffled": shifted(1.0, -0.1)}
    share = Contrast("abc", "shuffled", Margin(0.2, of=("abc", "rlhf")))
    fixed = Contrast("abc", "shuffled", Margin(0.2))
    by_share, by_size = judge_margins([share], values), judge_margins([fixed], values)
    assert by_share[0] is not None
    assert by_size[0] is not None
    assert by_share[0].p_value == pytest.approx(by_size[0].p_value)
    assert by_share[0].size == pytest.approx(0.2)
    verdict = say_verdict(contrast_arms([share, Contrast("abc", "rlhf")], values)[0])
    assert "differ by less than 0.200 (20 % of abc - rlhf) (90 % interval" in verdict


def test_a_share_of_no_effect_is_no_margin():
    values = {"abc": shifted(-0.01, 0.1), "rlhf": RLHF, "shuffled": shifted(0.0, -0.1)}
    share = Contrast("abc", "shuffled", Margin(0.2, of=("abc", "rlhf")))
    assert judge_margins([share], values) == [None]
    # -.01 and a tenth of the noise, whose mean is .0125.
    reason = "abc - rlhf is -0.0088, and a share of that is no margin"
    assert examine_margins([share], values)[0].not_tested == reason


def test_a_share_of_next_to_no_effect_shows_nothing():
    values = {"abc": shifted(0.0, 0.1), "rlhf": RLHF, "shuffled": shifted(0.0, -0.1)}
    share = Contrast("abc", "shuffled", Margin(0.2, of=("abc", "rlhf")))
    (one,) = judge_margins([share], values)
    assert one is not None
    assert not one.shown


def test_margins_that_are_not_tested_count_in_their_family():
    values = {"abc": shifted(0.02, 0.1), "rlhf": RLHF, "worse": shifted(-1.0, 0.0)}
    stated = Contrast("abc", "rlhf", Margin(0.035))
    untested = Contrast("abc", "rlhf", Margin(0.2, of=("worse", "rlhf")))
    both, none = judge_margins([stated, untested], values)
    assert none is None
    assert both is not None
    assert both.adjusted_p == pytest.approx(2 * both.p_value)


@pytest.mark.parametrize(
    ("pairs", "margins", "tested"), [(5, 1, False), (6, 1, True), (6, 3, False), (7, 3, True)]
)
def test_as_many_pairs_are_asked_for_as_a_verdict_takes(pairs, margins, tested):
    values = {name: {seed: one[seed] for seed in range(pairs)} for name, one in VALUES.items()}
    stated = [Contrast("abc", "rlhf", Margin(0.1))] * margins
    (one, *_) = examine_margins([*stated, Contrast("rlhf", "abc")], values)
    assert (one.equivalence is not None) == tested
    number = "margin" if margins == 1 else "3 margins"
    assert ("seeds cannot reach p < 0.05 with" in one.not_tested) == (not tested)
    assert tested or number in one.not_tested


def test_where_no_verdict_is_possible_on_the_contrast_nothing_is_claimed_of_its_margin():
    # Six pairs are enough for one margin, and too few for a family of four contrasts.
    values = {name: {seed: one[seed] for seed in range(6)} for name, one in VALUES.items()}
    others = [Contrast("none", "rlhf")] * 3
    (one, *_) = contrast_arms([Contrast("abc", "rlhf", Margin(0.1)), *others], values)
    assert one.finding is Finding.TOO_FEW_SEEDS
    assert one.equivalence is None
    assert one.not_tested == "6 seeds cannot reach p < 0.05 with 4 contrasts, 8 can"


def test_holm_covers_the_contrasts_that_state_a_margin():
    values = {"abc": shifted(0.02, 0.1), "rlhf": RLHF, "other": shifted(0.0, 0.15)}
    stated = Contrast("abc", "rlhf", Margin(0.05))
    other = Contrast("other", "rlhf", Margin(0.05))
    alone = judge_margins([stated, Contrast("other", "rlhf")], values)[0]
    both = judge_margins([stated, other], values)[0]
    assert alone is not None
    assert both is not None
    assert alone.adjusted_p == alone.p_value
    p_values = [one.p_value for one in judge_margins([stated, other], values) if one]
    assert both.adjusted_p == pytest.approx(adjust_holm(p_values)[0])
    assert both.adjusted_p >= both.p_value


def test_with_missing_cells_nothing_is_claimed():
    values = {"abc": shifted(0.02, 0.1), "rlhf": {seed: RLHF[seed] for seed in range(7)}}
    contrast = Contrast("abc", "rlhf", Margin(0.1))
    assert judge_margins([contrast], values)[0] is not None
    assert judge_margins([contrast], values, list(SEEDS)) == [None]
    (one,) = contrast_arms([contrast], values, list(SEEDS))
    assert (one.margin, one.not_tested) == (Margin(0.1), "1 cell without a result")


def test_a_cell_missing_in_the_whole_of_a_share_is_missing_too():
    values = {"abc": shifted(1.0, 0.0), "rlhf": {0: 1.0, 1: 1.1}, "shuffled": shifted(1.0, -0.1)}
    share = Contrast("abc", "shuffled", Margin(0.2, of=("abc", "rlhf")))
    (one,) = contrast_arms([share], values, list(SEEDS))
    assert one.finding is Finding.UNDETECTED
    assert one.not_tested == "6 cells without a result"


def test_without_a_margin_nothing_is_said_of_one():
    (one,) = contrast_arms([Contrast("abc", "rlhf")], VALUES)
    assert (one.margin, one.equivalence, one.not_tested) == (None, None, "")


def test_false_claims_of_a_share_are_rare():
    # The truth lies on the margin: the control has 80 % of abc's effect, whose size varies.
    generator = np.random.default_rng(11)
    wrong = 0
    for _ in range(1000):
        effect = generator.normal(1.0, 0.4, size=8)
        gap = generator.normal(0.2, 0.1, size=8)
        values = {
            "rlhf": dict(enumerate(np.zeros(8))),
            "abc": dict(enumerate(effect)),
            "shuffled": dict(enumerate(effect - gap)),
        }
        share = Contrast("abc", "shuffled", Margin(0.2, of=("abc", "rlhf")))
        (one,) = judge_margins([share], values)
        assert one is not None
        wrong += one.shown
    assert wrong / 1000 <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
