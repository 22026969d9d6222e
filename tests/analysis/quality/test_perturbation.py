"""Which texts are asked for, and what their scores become."""

from itertools import permutations

import numpy as np
import pytest
import torch

from abcrl.analysis.quality.perturbation import (
    Score,
    follow_orders,
    leave_one_out_drops,
    mean_curves,
)

NOT, GOOD, PLOT = 8, 7, 5


def sum_of_ids(texts: list[list[int]]) -> torch.Tensor:
    """A score to which each token adds its own id."""
    return torch.tensor([float(sum(ids)) for ids in texts])


def sentiment(texts: list[list[int]]) -> torch.Tensor:
    """A score of interactions: "good" is +1, in a text with "not" it is -1."""
    return torch.tensor([float(GOOD in ids) * (-1 if NOT in ids else 1) for ids in texts])


class Recorder:
    """A score that keeps what it is asked."""

    def __init__(self, score: Score) -> None:
        self.score, self.calls = score, list[list[list[int]]]()

    def __call__(self, texts: list[list[int]]) -> torch.Tensor:
        self.calls.append(texts)
        return self.score(texts)


def test_drops_of_a_sum_are_its_parts():
    drops = leave_one_out_drops(sum_of_ids, [100, 200], [1, 2, 3])
    assert drops.tolist() == [1, 2, 3]
    assert drops.dtype == torch.float64


def test_drops_have_the_sign_of_what_is_lost():
    # "not good plot" scores -1. Without "not" it is +1: -1 - 1 = -2. Without "good", 0: -1.
    assert leave_one_out_drops(sentiment, [0], [NOT, GOOD, PLOT]).tolist() == [-2, -1, 0]


def test_drops_take_each_token_out_of_its_place_in_one_call():
    score = Recorder(sum_of_ids)
    leave_one_out_drops(score, (9,), (4, 4, 6))
    assert score.calls == [[[9, 4, 4, 6], [9, 4, 6], [9, 4, 6], [9, 4, 4]]]


def test_curves_of_a_sum_by_hand():
    # 1 + 2 + 3 over a prompt of 10. Falling 3, 2, 1: 0, 3, 5, 6 at thirds. Trapezoids of width 1/3:
    # (1.5 + 4 + 5.5) / 3 = 11/3. Rising, 1, 2, 3: 0, 1, 3, 6, (0.5 + 2 + 4.5) / 3 = 7/3.
    orders = [np.array([2, 1, 0]), np.array([0, 1, 2])]
    best, worst = follow_orders(sum_of_ids, ([10], [1, 2, 3]), (16, 10), orders, steps=3)
    assert best.deletion == best.insertion == pytest.approx((0, 3, 5, 6))
    assert worst.deletion == worst.insertion == pytest.approx((0, 1, 3, 6))
    assert best.deletion_area == best.insertion_area == pytest.approx(11 / 3)
    assert worst.deletion_area == worst.insertion_area == pytest.approx(7 / 3)


def test_all_orders_of_a_sum_average_to_half_of_the_effect():
    orders = [np.array(order) for order in permutations(range(4))]
    curves = follow_orders(sum_of_ids, ([10], [1, 2, 30, 4]), (47, 10), orders, steps=4)
    mean = mean_curves(curves)
    assert mean.deletion_area == pytest.approx(37 / 2)
    assert mean.deletion == pytest.approx((0, 37 / 4, 37 / 2, 3 * 37 / 4, 37))


def test_curves_of_tokens_that_work_together_by_hand():
    # "not good plot" is -1, the prompt 0: the direction is down. Deleting "not" first turns the
    # score to +1, 2 from where it was; then "good", 0, 1 from where it was: 0, 2, 1, 1.
    # Inserting: "not" 0, "not good" -1: 0, 0, 1, 1.
    order = np.array([0, 1, 2])
    [curves] = follow_orders(sentiment, ([0], [NOT, GOOD, PLOT]), (-1, 0), [order], steps=3)
    assert curves.deletion == pytest.approx((0, 2, 1, 1))
    assert curves.insertion == pytest.approx((0, 0, 1, 1))
    assert curves.deletion_area == pytest.approx((1 + 1.5 + 1) / 3)
    assert curves.insertion_area == pytest.approx((0 + 0.5 + 1) / 3)


def test_kept_tokens_stay_in_their_order_and_all_orders_are_asked_at_once():
    score = Recorder(sum_of_ids)
    orders = [np.array([2, 0, 1]), np.array([1, 2, 0])]
    follow_orders(score, ([9], [5, 6, 7]), (27, 9), orders, steps=3)
    assert score.calls == [
        [
            *([9, 5, 6], [9, 6], [9, 7], [9, 5, 7]),  # without 7, 7 5; only 7, 7 5
            *([9, 5, 7], [9, 5], [9, 6], [9, 6, 7]),  # without 6, 6 7; only 6, 6 7
        ]
    ]


@pytest.mark.parametrize(
    ("length", "steps", "taken"),
    [
        (20, 4, [5, 10, 15]),
        (7, 3, [2, 5]),  # 7/3 and 14/3
        (3, 10, [1, 2]),
        (5, 8, [1, 2, 3, 4]),
        (10, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (6, 1, []),
        (1, 10, []),
    ],
)
def test_each_length_has_its_own_steps_in_whole_tokens(length, steps, taken):
    score = Recorder(sum_of_ids)
    order = np.arange(length)
    [curves] = follow_orders(score, ([0], [1] * length), (length, 0), [order], steps=steps)
    asked = [len(ids) - 1 for call in score.calls for ids in call]
    assert asked == [length - count for count in taken] + taken
    # Equal tokens: a straight line, wherever it was asked.
    assert curves.deletion == pytest.approx(np.linspace(0, length, steps + 1))
    assert curves.insertion == pytest.approx(np.linspace(0, length, steps + 1))
    assert curves.deletion_area == pytest.approx(length / 2)


@pytest.mark.parametrize(
    ("prompt", "response", "said"),
    [([], [1], "prompt_ids must hold"), ([1], [], "response_ids must hold")],
)
def test_a_text_without_prompt_or_response_is_refused(prompt, response, said):
    with pytest.raises(ValueError, match=f"^{said} at least one token, received none"):
        leave_one_out_drops(sum_of_ids, prompt, response)


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        ([1.0, 2.0], r"\[2\]"),
        ([[1.0], [2.0], [3.0]], r"\[3, 1\]"),
        ([1.0, 2.0, float("nan")], "one that"),
    ],
)
def test_scores_that_are_none_are_refused(answer, received):
    with pytest.raises(
        ValueError, match=f"^score must return 3 finite numbers, received {received}"
    ):
        leave_one_out_drops(lambda _: torch.tensor(answer), [1], [2, 3])
