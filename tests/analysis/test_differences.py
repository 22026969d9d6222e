"""Differences described by hand."""

import pytest

from abcrl.analysis import PairedDifference

BASELINE = {seed: 1.0 for seed in range(8)}


def difference(*d: float) -> PairedDifference:
    """Seed 9, which the baseline lacks, makes no pair."""
    own = {9: 5.0, **{seed: 1.0 + one for seed, one in enumerate(d)}}
    return PairedDifference.of("abc", "rlhf", {"abc": own, "rlhf": BASELINE})


def test_five_pairs_have_an_interval():
    # Deviations from .3: .2, -.1, .1, -.2, 0: s^2 = .1 / 4, standard error sqrt .005 = .07071;
    # t_{.975, 4} = 2.77645.
    found = difference(0.5, 0.2, 0.4, 0.1, 0.3)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.differences == pytest.approx((0.5, 0.2, 0.4, 0.1, 0.3))
    assert found.mean == pytest.approx(0.3)
    assert found.median == pytest.approx(0.3)
    assert found.interval is not None
    assert found.interval.half_width == pytest.approx(0.19632, abs=1e-5)


def test_four_pairs_have_none():
    found = difference(0.5, 0.25, 0.0, 0.25)
    assert (found.mean, found.median, found.interval) == (0.25, 0.25, None)


@pytest.mark.parametrize("values", [{}, {"abc": {1: 2.0}}, {"abc": {1: 2.0}, "rlhf": {2: 1.0}}])
def test_without_a_pair_there_is_nothing_to_describe(values):
    found = PairedDifference.of("abc", "rlhf", values)
    assert (found.seeds, found.mean, found.median, found.interval) == ((), None, None, None)
