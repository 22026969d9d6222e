"""Sentences: what they say, and what they must not."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from abcrl.analysis import Contrast, Finding, Margin, PairedContrast, contrast_arms, say_verdict

DECLARED = [Contrast("abc", "rlhf")]
NOISE = (0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.1)


def judge(d: list[float], *, declared: list[Contrast] = DECLARED, seeds: int = 0) -> PairedContrast:
    """The first contrast, with these differences; of `seeds` seeds the others are missing."""
    values = {"abc": dict(enumerate(d)), "rlhf": dict(enumerate([0.0] * len(d)))}
    return contrast_arms(declared, values, range(seeds) if seeds else None)[0]


def test_arms_without_any_difference_are_identical():
    assert say_verdict(judge([0.0] * 6), notes=["lambda 0.95"]) == (
        "no detectable difference: abc and rlhf are identical in all 6 pairs (lambda 0.95)"
    )
    assert say_verdict(judge([0.0] * 3)).startswith(
        "abc and rlhf are identical in 3 seeds, too few"
    )
    assert say_verdict(judge([0.0] * 5)).startswith(
        "no verdict: abc and rlhf are identical in all 5 pairs; 5 seeds cannot reach"
    )


@pytest.mark.parametrize(
    ("d", "size"),
    [
        ([0.2] * 6, "0.200 ± 0.000"),
        ([2e-6] * 6, "0.0000020 ± 0.0000000"),
        ([1e-5, 1.1e-5, 1.2e-5] * 2, "0.000011 ± 0.000001"),
        ([5.0, 5.00001] * 3, "5.0000 ± 0.0000"),
        ([300.0, 420.0, 390.0, 350.0, 310.0, 480.0], "375 ± 72"),
    ],
)
def test_a_difference_that_is_found_is_never_printed_as_none(d, size):
    assert f"higher than rlhf by {size} (" in say_verdict(judge(d))


@given(st.lists(st.floats(1e-9, 1e3), min_size=6, max_size=8))
def test_what_is_found_has_a_number_that_is_not_zero(d):
    contrast = judge(d)
    assume(contrast.finding is Finding.HIGHER)
    by = re.search(r" by ([0-9.]+) ± ", say_verdict(contrast))
    assert by is not None
    assert float(by[1]) > 0


def test_a_small_mean_of_few_seeds_is_printed():
    assert say_verdict(judge([0.001, 0.002])).startswith("abc - rlhf is +0.0015 on average")


def test_with_missing_cells_the_p_is_told_from_the_pairs():
    # Of eight seeds one is missing: as in the table of missing cells, p = 4 / 256.
    values = {"abc": {seed: 3.0 + seed / 10 for seed in range(8) if seed != 3}}
    values["rlhf"] = {seed: 1.0 + seed / 10 for seed in range(8)}
    (one,) = contrast_arms(DECLARED, values, range(8))
    assert say_verdict(one, notes=["lambda 1"]) == (
        "abc is higher than rlhf by 2.000 ± 0.000 "
        "(95 % interval of 7 pairs; p at worst = .016, over all 8; lambda 1)"
    )
    both = contrast_arms([*DECLARED, Contrast("rlhf", "abc")], values, range(8))
    assert "; p at worst = .031, Holm, over all 8)" in say_verdict(both[0])
    noise = {seed: values["rlhf"][seed] + one for seed, one in enumerate(NOISE) if seed != 5}
    (one,) = contrast_arms(DECLARED, {**values, "abc": noise}, range(8))
    assert "7 pairs; p at worst = " in say_verdict(one)


def test_a_margin_that_is_not_tested_is_said_so():
    stated = [Contrast("abc", "rlhf", Margin(0.5))]
    near = [one / 10 for one in NOISE]
    one = judge(near, declared=stated, seeds=9)
    assert one.margin == Margin(0.5)
    assert one.equivalence is None
    assert say_verdict(one).endswith(
        ". Whether abc and rlhf differ by less than 0.5 is not tested: 2 cells without a result"
    )
    assert "not tested" not in say_verdict(judge(near, declared=stated, seeds=8))
    assert "differ by less than 0.500 (" in say_verdict(judge(near, declared=stated, seeds=8))


def test_a_share_of_what_is_not_above_zero_is_not_tested():
    share = [Contrast("abc", "rlhf", Margin(0.2, ("rlhf", "abc")))]
    assert say_verdict(judge([0.1, 0.2, 0.3, 0.1, 0.2, 0.3], declared=share)).endswith(
        ". Whether abc and rlhf differ by less than 20 % of rlhf - abc is not tested: "
        "rlhf - abc is -0.2, and a share of that is no margin"
    )


@pytest.mark.parametrize("margins", [1, 3])
@pytest.mark.parametrize("pairs", range(9))
def test_no_verdict_and_a_claim_of_equivalence_never_stand_together(pairs, margins):
    near = [0.001 * one for one in NOISE][:pairs]
    stated = [Contrast("abc", "rlhf", Margin(0.5))] * margins
    declared = [*stated, *[Contrast("none", "rlhf")] * (5 - margins)]
    for seeds in {0, pairs, 8} - set(range(1, pairs)):
        said = say_verdict(judge(near, declared=declared, seeds=seeds))
        claimed = "differ by less than 0.5" in said and "is not tested: " not in said
        # Five contrasts take eight seeds, whatever three margins would take.
        assert claimed == (pairs == 8)
        assert not (claimed and said.startswith("no verdict"))
