"""Several responses to each prompt: paired differences and win rates, and whether they cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abcrl.analysis.quality.prompt_samples import mean_difference, win_rate

SCORES = st.integers(1, 4).flatmap(
    lambda k: st.lists(
        st.lists(st.integers(-3, 3).map(float), min_size=k, max_size=k), min_size=4, max_size=4
    )
)


def test_the_difference_is_that_of_the_prompts_means():
    # Differences of means 1, 2, 6: mean 3, s = sqrt(7); t(0.975, 2) = 4.302653.
    found = mean_difference([[1, 3], [5, 5], [9, 9]], [[0, 2], [2, 4], [3, 3]])
    reach = 4.302653 * (7 / 3) ** 0.5
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == pytest.approx((3 - reach, 3 + reach), abs=1e-5)


def test_more_samples_of_the_same_kind_do_not_pass_for_more_prompts():
    ours, theirs = [[1.0], [4.0], [2.0]], [[0.0], [1.0], [3.0]]
    once = mean_difference(ours, theirs)
    again = mean_difference([row * 50 for row in ours], [row * 50 for row in theirs])
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_pairs_are_of_different_sample_numbers():
    # Prompt 1: 3 > 0, 1 < 2: one of two. Prompt 2: 5 > 4, 4 = 4: one and a half.
    found = win_rate([[3, 1], [5, 4]], [[2, 0], [4, 4]])
    assert found is not None
    assert found.value == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_shared_draws_do_not_turn_a_hairs_breadth_into_a_victory():
    generator = np.random.default_rng(3)
    baseline = generator.standard_normal((200, 4))
    found = win_rate((baseline + 1e-6).tolist(), baseline.tolist())
    assert found is not None
    assert found.value == pytest.approx(0.5)


def test_one_sample_makes_no_pair():
    assert win_rate([[1], [2]], [[0], [0]]) is None


@pytest.mark.parametrize(("n", "low"), [(2, 0.0), (10, 0.7332), (64, 0.9546)])
def test_always_winning_leaves_doubt(n, low):
    found = win_rate([[1, 2]] * n, [[0, 0]] * n)
    assert found is not None
    assert found.value == found.high == 1
    # n = 10: eleven times 1 and once 0, m = 11/12, s = 0.28868, t(0.975, 11) = 2.20099.
    assert found.low == pytest.approx(low, abs=1e-3)


@given(SCORES, st.randoms(use_true_random=False))
def test_both_sides_share_the_victories(scores, random):
    other = [random.sample(row, len(row)) for row in random.sample(scores, len(scores))]
    found, mirrored = win_rate(scores, other), win_rate(other, scores)
    if found is None or mirrored is None:
        assert len(scores[0]) == 1
        return
    assert found.value == pytest.approx(1 - mirrored.value)
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert win_rate(scores, scores).value == pytest.approx(0.5)  # type: ignore[union-attr]


@pytest.mark.parametrize("spread", [0.0, 3.0, 1000.0], ids="spread {}".format)
@pytest.mark.parametrize("n", [5, 10, 64])
@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5, 0.95])
def test_the_interval_covers_the_true_rate(n, rate, spread):
    """A prompt's own advantage has a deviation of `spread`; at 1000 it alone decides its pairs."""
    repeats = 400
    generator = np.random.default_rng(12)
    shift = stats.norm.ppf(rate) * (2 + spread**2) ** 0.5
    advantage = shift + spread * generator.standard_normal((repeats, n, 1))
    ours = advantage + generator.standard_normal((repeats, n, 4))
    theirs = generator.standard_normal((repeats, n, 4))
    intervals = [win_rate(*pair) for pair in zip(ours.tolist(), theirs.tolist(), strict=True)]
    held = [one is not None and one.low <= rate <= one.high for one in intervals]
    # 94 %, less three standard errors of 400 simulations.
    assert np.mean(held) >= 0.94 - 3 * (0.94 * 0.06 / repeats) ** 0.5


@pytest.mark.parametrize("n", [5, 20])
def test_the_difference_covers_the_true_one(n):
    generator = np.random.default_rng(7)
    held = []
    for _ in range(400):
        prompt = generator.standard_normal((n, 1))
        ours = 0.3 + 2 * prompt + generator.standard_normal((n, 3))
        theirs = prompt + generator.standard_normal((n, 3))
        found = mean_difference(ours.tolist(), theirs.tolist())
        held.append(found.low <= 0.3 <= found.high)
    assert 0.915 <= np.mean(held) <= 0.985


@pytest.mark.parametrize(
    ("values", "baseline"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]]),  # one prompt has no spread
        ([[1.0, 2.0], [1.0, 2.0]], [[1.0], [1.0]]),
        ([[], []], [[], []]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([[1.0], [float("nan")]], [[1.0], [1.0]]),
    ],
)
@pytest.mark.parametrize("estimate", [mean_difference, win_rate])
def test_what_cannot_be_compared_is_refused(estimate, values, baseline):
    with pytest.raises(ValueError, match="values and baseline must"):
        estimate(values, baseline)
