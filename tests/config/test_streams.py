from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import stream_seed

PINNED = 7_869_666_599_651_941_692


def test_the_seed_of_a_draw_never_changes():
    # Another value would silently change every run that anyone repeats.
    assert stream_seed(0, "response", 1, 2) == PINNED
    assert stream_seed(7, "x") == 8_991_541_814_357_695_911


@given(st.integers(0, 2**64), st.text(max_size=8), st.lists(st.integers(0, 10**6), max_size=3))
def test_a_seed_fits_where_seeds_go(seed, stream, indices):
    assert 0 <= stream_seed(seed, stream, *indices) < 2**63


def test_draws_of_different_seed_stream_or_index_have_different_seeds():
    seeds = {
        stream_seed(seed, stream, step, row)
        for seed in range(5)
        for stream in ("response", "evaluation", "calibration")
        for step in range(10)
        for row in range(10)
    }
    assert len(seeds) == 5 * 3 * 10 * 10


def test_indices_do_not_run_into_each_other():
    assert stream_seed(1, "s", 1, 23) != stream_seed(1, "s", 12, 3)
    assert stream_seed(1, "s", 1) != stream_seed(11, "s")
    assert stream_seed(1, "s") != stream_seed(1, "s", 0)


def test_neighbouring_draws_are_not_correlated():
    bits = [stream_seed(0, "response", step) & 1 for step in range(2000)]
    assert 0.45 < sum(bits) / len(bits) < 0.55
    flips = sum(one != other for one, other in pairwise(bits))
    assert 0.45 < flips / (len(bits) - 1) < 0.55
