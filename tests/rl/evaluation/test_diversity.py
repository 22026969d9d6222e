"""Different n-grams over responses, repeated ones within them: tables worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.rl.evaluation.diversity import distinct_n, repetition_n

RESPONSES = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=6)


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([[1, 2, 3, 4]], 1.0),  # 12 23 34
        ([[1, 1, 1, 1, 1]], 1 / 4),  # 11 four times
        ([[1, 2, 1, 2]], 2 / 3),  # 12 21 12
        ([[1, 2, 3], [1, 2, 4]], 3 / 4),  # 12 23 | 12 24
        ([[1, 2], [2, 1]], 1.0),  # order counts
        ([[1, 2, 3], [9]], 1.0),  # one token makes no pair, and no pair crosses two responses
        ([[4], [4]], 0.0),  # no pair at all
        ([], 0.0),
    ],
)
def test_distinct_2_counts_neighbouring_pairs(responses, expected):
    assert distinct_n(responses, 2) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "expected"), [(1, 2 / 7), (2, 4 / 5), (3, 1.0), (4, 1.0), (5, 0.0)])
def test_distinct_n_counts_n_grams(n, expected):
    assert distinct_n([[1, 1, 2], [2, 2, 1, 1]], n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ([1, 2, 3, 4, 5], 0.0),  # 1234 2345
        ([1, 1, 1, 1, 1, 1], 2 / 3),  # 1111 three times
        ([1, 2, 1, 2, 1, 2], 1 / 3),  # 1212 2121 1212
        ([1, 2, 3, 4, 1, 2, 3, 4], 1 / 5),  # 1234 2341 3412 4123 1234
        ([1, 1, 1], 0.0),  # too short for any
        ([], 0.0),
    ],
)
def test_repetition_is_the_share_of_n_grams_that_were_there_before(response, expected):
    assert repetition_n(response, 4) == pytest.approx(expected)


@given(RESPONSES, st.integers(1, 4))
def test_shares_lie_between_0_and_1_and_order_does_not_matter(responses, n):
    assert 0 <= distinct_n(responses, n) <= 1
    assert distinct_n(responses, n) == distinct_n(responses[::-1], n)
    assert all(0 <= repetition_n(response, n) < 1 for response in responses)


@given(RESPONSES, st.integers(1, 4))
def test_responses_that_come_twice_halve_what_is_distinct(responses, n):
    assert distinct_n(responses * 2, n) == pytest.approx(distinct_n(responses, n) / 2)


@given(st.lists(st.integers(0, 4), min_size=4, max_size=12), st.integers(1, 4))
def test_of_one_response_both_say_the_same(response, n):
    assert repetition_n(response, n) == pytest.approx(1 - distinct_n([response], n))
