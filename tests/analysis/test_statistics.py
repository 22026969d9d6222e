import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abcrl.analysis.statistics import (
    adjust_holm,
    bootstrap_interval,
    can_reach_verdict,
    equivalence_p,
    pair_by_seed,
    sign_flip_p,
    standard_error,
    student_interval,
)
from abcrl.config.verdicts import min_pairs_for_verdict

# Student's own example: hours of sleep gained by ten patients under two drugs (Biometrika 1908,
# "additional hours of sleep"); the differences laevo - dextro that made the paired test famous.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Darwin's 15 pairs of maize, cross- minus self-fertilised, in eighths of an inch: the data of
# Fisher's randomisation test ("The Design of Experiments", section 21).
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

differences = st.lists(st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3)), min_size=2)


def test_pairs_are_over_common_seeds_only():
    seeds, d = pair_by_seed({3: 1.0, 1: 2.0, 7: 5.0}, {1: 0.5, 3: 4.0, 2: 9.0})
    assert seeds == (1, 3)
    assert d == (1.5, -3.0)


class TestStudentInterval:
    def test_of_students_sleep_data(self):
        # Mean 1.58, s 1.23, s / sqrt(10) = .38896; t_{.975, 9} = 2.26216; reach .87988.
        interval = student_interval(SLEEP)
        assert interval.low == pytest.approx(0.7001, abs=1e-4)
        assert interval.high == pytest.approx(2.4599, abs=1e-4)
        assert interval.half_width == pytest.approx(0.8799, abs=1e-4)

    def test_by_hand(self):
        # d = 1, 2, 3: mean 2, s 1, standard error 1 / sqrt 3 = .57735, t_{.975, 2} = 4.30265.
        interval = student_interval([1.0, 2.0, 3.0])
        assert interval.half_width == pytest.approx(4.30265 * 0.57735, abs=1e-4)

    @given(differences)
    def test_agrees_with_scipy(self, d):
        if len(set(d)) < 2:
            return
        expected = stats.ttest_rel(d, np.zeros(len(d))).confidence_interval(0.95)
        interval = student_interval(d)
        assert interval.low == pytest.approx(expected.low, abs=1e-9)
        assert interval.high == pytest.approx(expected.high, abs=1e-9)

    def test_covers_the_true_mean_in_95_of_100_samples(self):
        samples = np.random.default_rng(0).normal(0.3, 1.0, size=(2000, 6))
        intervals = [student_interval(sample) for sample in samples.tolist()]
        covered = np.mean([one.low <= 0.3 <= one.high for one in intervals])
        assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))

    def test_one_difference_has_none(self):
        with pytest.raises(ValueError, match="at least 2 finite numbers"):
            student_interval([1.0])


class TestSignFlip:
    def test_by_hand(self):
        # d = 1, 2, -1, sum 2. The eight sums: 1+2+1 = 4, 1+2-1 = 2, 1-2+1 = 0, 1-2-1 = -2 and
        # their negatives; at least 2 from zero: 4, 2, -2 and negatives, 6 of 8.
        assert sign_flip_p([1.0, 2.0, -1.0]) == 6 / 8

    def test_smallest_value_is_two_to_the_one_minus_n(self):
        for n in range(1, 15):
            assert sign_flip_p([1.0 + i for i in range(n)]) == 2.0 ** (1 - n)

    def test_of_nothing_but_zeros_is_one(self):
        assert sign_flip_p([0.0] * 6) == 1.0

    def test_sees_ties_through_rounding(self):
        # In exact arithmetic 0.1 + 0.2 = 0.3, so flipping all of (.1, .2, -.3) or none gives 0,
        # like the observed sum: every assignment is at least as extreme.
        assert 0.1 + 0.2 - 0.3 != 0
        assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
        # Swapping the signs of two equal differences gives the observed sum again, in whatever
        # order it is rounded: 7 differences of .1 with one negative, sum .5. At least as far from
        # zero: no or all negative (2), one or six negative (14), of 128.
        assert sign_flip_p([0.1] * 6 + [-0.1]) == 16 / 128
        assert sign_flip_p([-0.1] + [0.1] * 6) == 16 / 128

    def test_does_not_depend_on_order_sign_or_unit(self):
        d = [0.31, -0.12, 0.8, 0.05, 0.44, -0.2]
        p = sign_flip_p(d)
        assert sign_flip_p(d[::-1]) == p
        assert sign_flip_p([-x for x in d]) == p
        assert sign_flip_p([x * 1e-9 for x in d]) == p
        assert sign_flip_p([x * 1e9 for x in d]) == p

    @given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
    def test_agrees_with_counting_in_integers(self, d):
        sums = [sum(sign * x for sign, x in zip(signs, d, strict=True)) for signs in signs_of(d)]
        expected = sum(abs(one) >= abs(sum(d)) for one in sums) / len(sums)
        assert sign_flip_p([x / 10 for x in d]) == expected

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("n", [5, 8, 12])
    def test_agrees_with_scipy(self, n, seed):
        d = np.random.default_rng(seed).normal(0.3, 1, n)
        expected = stats.permutation_test(
            (d,), np.mean, permutation_type="samples", n_resamples=2**n
        )
        assert sign_flip_p(d.tolist()) == pytest.approx(expected.pvalue, abs=1e-12)

    def test_is_repeatable_and_close_to_fishers_count_above_14_pairs(self):
        # Fisher: of the 2^15 sums 835 are above the observed 314 and 28 equal to it, so that the
        # two-sided share is 2 * (835 + 28) / 32768 = .05267.
        p = sign_flip_p(MAIZE)
        assert p == sign_flip_p(MAIZE)
        assert p == pytest.approx(0.05267, abs=4 * math.sqrt(0.05267 * 0.947 / 1e5))

    def test_is_never_zero(self):
        assert sign_flip_p([1.0 + i for i in range(40)]) == 1 / 100_001

    def test_rejects_in_at_most_5_of_100_cases_without_an_effect(self):
        # Exchangeable but skewed: differences of two exponentials, 8 pairs.
        generator = np.random.default_rng(1)
        d = generator.exponential(size=(2000, 8)) - generator.exponential(size=(2000, 8))
        rejected = np.mean([sign_flip_p(row) <= 0.05 for row in d.tolist()])
        assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
        assert rejected >= 0.03  # p is a multiple of 1/128: the exact level is 6/128 = .047

    @pytest.mark.parametrize("d", [[], [1.0, math.inf], [math.nan]])
    def test_refuses_what_is_no_sample(self, d):
        with pytest.raises(ValueError, match="differences must be at least 1 finite"):
            sign_flip_p(d)


def signs_of(d: list[int]) -> Iterable[tuple[int, ...]]:
    return product((-1, 1), repeat=len(d))


class TestHolm:
    def test_example_worked_by_hand(self):
        # The usual textbook example: sorted .005, .01, .03, .04; times 4, 3, 2, 1 they are .02,
        # .03, .06, .04; the running maximum makes the last .06.
        assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_rejects_as_holms_stepwise_procedure_does(self):
        # Holm (1979): compare p_(1) with alpha / 5, p_(2) with alpha / 4, ... and stop at the
        # first that is larger: .009 <= .01, .0124 <= .0125, .02 > .0167, so two are rejected.
        adjusted = adjust_holm([0.02, 0.009, 0.5, 0.0124, 0.021])
        assert [p <= 0.05 for p in adjusted] == [False, True, False, True, False]

    def test_of_one_is_itself_and_of_none_is_nothing(self):
        assert adjust_holm([0.03]) == [0.03]
        assert adjust_holm([]) == []

    def test_is_cut_at_one(self):
        assert adjust_holm([0.6, 0.7]) == [1.0, 1.0]

    @given(st.lists(st.floats(0, 1), max_size=12))
    def test_is_between_the_raw_and_bonferronis_and_keeps_the_order(self, raw):
        adjusted = adjust_holm(raw)
        for p, q in zip(raw, adjusted, strict=True):
            assert p <= q <= max(p, min(1.0, len(raw) * p))
        ranked = [q for _, q in sorted(zip(raw, adjusted, strict=True))]
        assert ranked == sorted(ranked)

    def test_refuses_what_is_no_probability(self):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            adjust_holm([0.1, 1.2])


class TestVerdictRule:
    @pytest.mark.parametrize(("contrasts", "pairs"), [(1, 6), (2, 7), (3, 7), (4, 8), (9, 9)])
    def test_counts_the_seeds_that_a_verdict_takes(self, contrasts, pairs):
        assert min_pairs_for_verdict(contrasts) == pairs
        assert can_reach_verdict(pairs, contrasts)
        assert not can_reach_verdict(pairs - 1, contrasts)

    def test_is_m_times_two_to_the_one_minus_n(self):
        for contrasts, pairs in product(range(1, 200), range(5, 20)):
            assert can_reach_verdict(pairs, contrasts) == (contrasts * 2.0 ** (1 - pairs) <= 0.05)


class TestEquivalence:
    def test_by_hand(self):
        # 0, 1, 2: mean 1, s 1, standard error 1 / sqrt 3. To the margin 3 there are 2, t = 2 sqrt 3
        # with 2 degrees of freedom, whose distribution is 1/2 + t / (2 sqrt(2 + t^2)):
        # p = 1/2 - sqrt 12 / (2 sqrt 14) = .03709. The other side is farther away.
        assert equivalence_p([0.0, 1.0, 2.0], 3.0) == pytest.approx(0.03709, abs=1e-5)
        assert equivalence_p([0.0, -1.0, -2.0], 3.0) == pytest.approx(0.03709, abs=1e-5)

    @given(differences.filter(lambda d: len(set(d)) > 1), st.floats(0.01, 20))
    def test_is_the_larger_of_two_one_sided_t_tests(self, d, margin):
        below = stats.ttest_1samp(d, margin, alternative="less").pvalue
        above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
        assert equivalence_p(d, margin) == pytest.approx(max(below, above), abs=1e-9)

    @given(differences.filter(lambda d: len(set(d)) > 1), st.floats(0.01, 20))
    def test_at_5_percent_is_the_90_percent_interval_inside_the_margin(self, d, margin):
        inside = student_interval(d, confidence=0.9)
        p = equivalence_p(d, margin)
        if abs(p - 0.05) > 1e-6:
            assert (p < 0.05) == (-margin < inside.low and inside.high < margin)

    def test_a_margin_that_is_the_same_in_every_pair_is_a_fixed_one(self):
        assert equivalence_p(SLEEP, [2.0] * 10) == equivalence_p(SLEEP, 2.0)

    def test_a_margin_that_is_estimated_costs_certainty(self):
        # The same mean margin, 2, but it varies from pair to pair and has nothing to do with d.
        varying = [1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0]
        assert equivalence_p(SLEEP, varying) > equivalence_p(SLEEP, 2.0)

    def test_a_share_of_an_effect_that_is_not_there_shows_nothing(self):
        # 20 % of a mean of 0 is no room at all, however alike the pairs are.
        assert equivalence_p([0.01, -0.01, 0.02, -0.02], [0.2, -0.2, 0.2, -0.2]) >= 0.5

    def test_pairs_without_spread_are_inside_or_outside(self):
        assert equivalence_p([0.1] * 6, 0.2) == 0.0
        assert equivalence_p([0.3] * 6, 0.2) == 1.0
        assert equivalence_p([0.2] * 6, 0.2) == 1.0

    def test_false_claims_are_rare_where_the_truth_lies_on_the_margin(self):
        generator = np.random.default_rng(5)
        samples = generator.normal(0.5, 0.3, size=(2000, 8)).tolist()
        wrong = np.mean([equivalence_p(one, 0.5) <= 0.05 for one in samples])
        assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)

    @pytest.mark.parametrize(
        ("d", "margins"),
        [([1.0, 2.0], 0.0), ([1.0, 2.0], -1.0), ([1.0, 2.0], [1.0] * 3), ([1.0], 1.0)],
    )
    def test_refuses_what_is_no_margin(self, d, margins):
        with pytest.raises(ValueError, match="received"):
            equivalence_p(d, margins)


class TestBootstrap:
    def test_is_close_to_students_interval_where_differences_are_normal(self):
        d = np.random.default_rng(3).normal(1.0, 2.0, size=60).tolist()
        ours, students = bootstrap_interval(d), student_interval(d)
        assert ours.low == pytest.approx(students.low, abs=0.1)
        assert ours.high == pytest.approx(students.high, abs=0.1)

    def test_leans_to_the_long_tail(self):
        d = np.random.default_rng(4).exponential(size=30)
        found = bootstrap_interval(d.tolist())
        assert found.high - d.mean() > 1.1 * (d.mean() - found.low)

    def test_the_same_pairs_give_the_same_interval(self):
        d = np.random.default_rng(4).normal(size=20).tolist()
        assert bootstrap_interval(d) == bootstrap_interval(d)

    def test_pairs_without_spread_have_a_point(self):
        found = bootstrap_interval([0.5] * 20)
        assert (found.low, found.high) == (0.5, 0.5)

    def test_nineteen_pairs_are_too_few(self):
        with pytest.raises(ValueError, match="at least 20"):
            bootstrap_interval([float(n) for n in range(19)])


def test_standard_error_by_hand():
    # 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, s = sqrt 13, over sqrt 3.
    assert standard_error([2.0, 4.0, 9.0]) == pytest.approx(math.sqrt(13 / 3))
    assert standard_error([2.0]) is None
