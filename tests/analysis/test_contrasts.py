import math

import numpy as np
import pytest

from abcrl.analysis import Contrast, Finding, PairedContrast, contrast_arms, say_verdict
from abcrl.analysis.verdicts import say_p


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def one_contrast(d: list[float], family: int = 1) -> PairedContrast:
    """A contrast with the given differences, among others that say nothing."""
    values = {"abc": by_seed(d), "rlhf": by_seed([0.0] * len(d)), "none": {}}
    contrasts = [Contrast("abc", "rlhf"), *[Contrast("none", "rlhf")] * (family - 1)]
    return contrast_arms(contrasts, values)[0]


def test_numbers_of_a_contrast_by_hand():
    # abc - rlhf = .5, .2, .4, .1, .3, .3: mean 1.8 / 6 = .3, median .3. All six have one sign, so
    # p = 2 / 2^6. Squared deviations .04 + .01 + .01 + .04 + 0 + 0 = .1, s = sqrt .02 = .14142,
    # standard error .05774, t_{.975, 5} = 2.57058: .14841. Detectable: 1.79316 s, for
    # Phi(1.79316)^6 = .8.
    values = {
        "abc": by_seed([1.5, 1.2, 1.9, 1.1, 1.3, 2.3]),
        "rlhf": by_seed([1.0, 1.0, 1.5, 1.0, 1.0, 2.0]),
    }
    (contrast,) = contrast_arms([Contrast("abc", "rlhf")], values)
    assert contrast.differences == pytest.approx((0.5, 0.2, 0.4, 0.1, 0.3, 0.3))
    assert contrast.mean == pytest.approx(0.3)
    assert contrast.median == pytest.approx(0.3)
    assert contrast.p_value == contrast.adjusted_p == 2 / 64
    assert contrast.interval is not None
    assert contrast.interval.half_width == pytest.approx(0.14841, abs=1e-5)
    assert contrast.detectable == pytest.approx(0.25359, abs=1e-4)
    assert contrast.finding is Finding.HIGHER
    assert (
        say_verdict(contrast)
        == "abc is higher than rlhf by 0.30 ± 0.15 (95 % interval; p = .031; 6 pairs)"
    )


def test_holm_covers_the_declared_family():
    # Eight seeds. abc and uniform are above rlhf in all: p = 2 / 2^8 each. abc - uniform is .1
    # seven times and -.1 once, sum .6: 0, 1, 7 or 8 negatives are as extreme, 18 of 256.
    values = {
        "abc": by_seed([2.1] * 7 + [1.9]),
        "uniform": by_seed([2.0] * 8),
        "rlhf": by_seed([1.0] * 8),
    }
    declared = [Contrast("abc", "rlhf"), Contrast("uniform", "rlhf"), Contrast("abc", "uniform")]
    results = contrast_arms(declared, values)
    assert [one.p_value for one in results] == [2**-7, 2**-7, 18 / 256]
    assert [one.adjusted_p for one in results] == [3 * 2**-7, 3 * 2**-7, 18 / 256]
    assert [one.finding for one in results] == [
        Finding.HIGHER,
        Finding.HIGHER,
        Finding.UNDETECTED,
    ]
    assert "p = .023, Holm; 8 pairs" in say_verdict(results[0])


def test_direction_is_that_of_the_mean():
    contrast = one_contrast([-0.3, -0.2, -0.5, -0.1, -0.2, -0.4, -0.3])
    assert contrast.finding is Finding.LOWER
    assert say_verdict(contrast).startswith("abc is lower than rlhf by 0.29 ± 0.12 (")


def test_too_few_seeds_for_the_family_give_an_interval_and_no_verdict():
    contrast = one_contrast([0.3, 0.2, 0.5, 0.1, 0.2, 0.4], family=4)
    assert contrast.interval is not None
    assert contrast.finding is Finding.TOO_FEW_SEEDS
    assert say_verdict(contrast) == (
        "no verdict: abc - rlhf is +0.28 ± 0.15 (95 % interval; 6 pairs); "
        "6 seeds cannot reach p < 0.05 with 4 contrasts, 8 can"
    )


def test_below_five_pairs_there_are_only_the_differences():
    contrast = one_contrast([0.3, 0.2, 0.5, 0.1])
    assert contrast.differences == (0.3, 0.2, 0.5, 0.1)
    assert contrast.interval is None
    assert contrast.p_value is None
    assert contrast.detectable is None
    assert say_verdict(contrast) == (
        "abc - rlhf is +0.28 on average over 4 seeds, too few for an interval (5) or a verdict (6)"
    )


def test_five_pairs_of_one_sign_have_p_one_sixteenth_and_no_verdict():
    contrast = one_contrast([0.3, 0.2, 0.5, 0.1, 0.2])
    assert contrast.p_value == 1 / 16
    assert contrast.finding is Finding.TOO_FEW_SEEDS
    assert say_verdict(contrast).endswith("5 seeds cannot reach p < 0.05 with 1 contrast, 6 can")


def test_no_pair_is_said_so():
    (contrast,) = contrast_arms([Contrast("abc", "rlhf")], {"abc": {1: 0.5}, "rlhf": {2: 0.5}})
    assert contrast.mean is None
    assert contrast.finding is Finding.TOO_FEW_SEEDS
    assert say_verdict(contrast) == "no seed finished in both abc and rlhf"


def test_what_is_not_detected_is_not_called_equal():
    contrast = one_contrast([0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.1])
    sentence = say_verdict(contrast, notes=["lambda 0.95"])
    assert sentence.startswith("no detectable difference: abc - rlhf is +0.01 ± 0.17 (95 %")
    assert "lambda 0.95)" in sentence
    # s^2 = (.29 - 8 * .0125^2) / 7 = .04125, s = .2031. Six of 2^7 assignments are 5 %: 1.19 s. (By
    # Student's test (2.3646 + .8960) / sqrt 8 = 1.15 s.)
    assert sentence.endswith("; 8 seeds could have shown 0.24")


def test_equal_arms_are_no_difference():
    contrast = one_contrast([0.0] * 6)
    assert contrast.p_value == 1.0
    assert contrast.finding is Finding.UNDETECTED


def test_a_contrast_that_did_not_finish_still_counts_in_the_family():
    assert one_contrast([0.3] * 6, family=1).adjusted_p == 2 / 64
    assert one_contrast([0.3] * 6, family=3).adjusted_p == 3 * 2 / 64


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1.0, "p = 1.000"),
        (0.0313, "p = .031"),
        (0.125, "p = .125"),
        (0.00195, "p = .002"),
        (0.0002, "p < .001"),
    ],
)
def test_p_in_words(p, words):
    assert say_p(p) == words


def test_a_verdict_of_difference_without_an_effect_comes_in_at_most_5_of_100_families():
    # Five exchangeable arms of eight seeds that share the seed's effect: four contrasts with one
    # baseline, hence correlated, as in the built-in comparison.
    generator = np.random.default_rng(3)
    false = 0
    for _ in range(600):
        scores = generator.normal(size=(5, 8)) + generator.normal(size=(1, 8))
        values = {str(arm): by_seed(row.tolist()) for arm, row in enumerate(scores)}
        results = contrast_arms([Contrast(str(arm), "0") for arm in range(1, 5)], values)
        false += any(one.finding in {Finding.HIGHER, Finding.LOWER} for one in results)
    assert false / 600 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
