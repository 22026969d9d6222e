"""The update: what a mini-batch may and may not change."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from abcrl.config import RunFailedError
from abcrl.rl.actors import Actors
from abcrl.rl.metrics import update_metrics
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.update import Experience, PolicyUpdater, epoch_orders

Train = Callable[..., tuple[PolicyUpdater, dict[str, Tensor], Any]]


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def adam_of(updater: PolicyUpdater) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = updater._optimizer
    return optimizer


def change_row(experience: Experience, row: int, **changes: float) -> Experience:
    """Returns a copy with numbers added to one row of some fields."""
    fields = {name: getattr(experience, name).clone() for name in changes}
    for name, change in changes.items():
        fields[name][row] += change
    return experience._replace(**fields)


def test_a_skipped_mini_batch_changes_neither_weights_nor_optimizer(
    drifted_actors: Actors, experience: Experience, train: Train
):
    # Ratios of e^5 = 148 in row 2, above the threshold of 10.
    far = change_row(experience, 2, logprobs=-5.0)

    updater, weights, result = train(far, [2])
    assert result.skipped == 1
    assert equal(weights, drifted_actors.policy.state_dict())
    assert not adam_of(updater).state
    assert all(parameter.grad is None for parameter in updater._parameters)

    # In the middle of an epoch it is as if it were not there: no momentum moves the weights.
    updater, weights, result = train(far, [1, 2, 3])
    assert result.skipped == 1
    without, expected, _ = train(far, [1, 3])
    assert equal(weights, expected)
    assert not equal(weights, drifted_actors.policy.state_dict())
    pairs = zip(updater._parameters, without._parameters, strict=True)
    for ours, theirs in pairs:
        for name, value in adam_of(updater).state[ours].items():
            assert torch.equal(value, adam_of(without).state[theirs][name])


def test_a_ratio_that_overflows_is_skipped_and_leaves_no_infinity_in_the_metrics(
    experience: Experience, train: Train
):
    overflowing = change_row(experience, 2, logprobs=-200.0)  # e^200 is infinite in float32
    result = train(overflowing, [2])[2]
    assert result.skipped == 1
    assert update_metrics(result) == {"update/skipped": 1.0}

    row = update_metrics(train(overflowing, [1, 2, 3])[2])
    assert row["update/skipped"] == 1.0
    assert all(math.isfinite(value) for value in row.values())


def test_a_ratio_below_the_threshold_is_not_skipped(experience: Experience, train: Train):
    near = change_row(experience, 2, logprobs=-2.0)  # e^2 = 7.4
    assert train(near, [2])[2].skipped == 0
    assert train(near, [2], ratio_threshold=5.0)[2].skipped == 1


@pytest.mark.parametrize(
    ("field", "loss"), [("advantages", "policy_loss"), ("returns", "value_loss")]
)
def test_a_loss_that_is_not_finite_fails_the_run_and_leaves_the_weights(
    experience: Experience, train: Train, field, loss
):
    broken = change_row(experience, 2, **{field: float("nan")})

    _, weights, error = train(broken, [1, 2, 3])

    assert isinstance(error, RunFailedError)
    assert loss in str(error)
    assert len(str(error).splitlines()) == 1
    assert all(value.isfinite().all() for value in weights.values())
    # What stands is the step before; nothing of the broken one.
    assert equal(weights, train(experience, [1])[1])


def test_clipping_reports_the_norm_before_and_applies_the_bound(
    drifted_actors: Actors, experience: Experience, train: Train
):
    assert train(experience, [0, 1])[2].grad_norm is None

    # The first step's momentum is (1 - 0.9) times the gradient that reached Adam.
    def first_gradient(updater: PolicyUpdater) -> float:
        state = adam_of(updater).state
        moments = [state[p]["exp_avg"] for p in updater._parameters if p in state]
        return float(torch.cat([moment.flatten() for moment in moments]).norm()) / 0.1

    free, _, wide = train(experience, [0], max_grad_norm=1e6)
    norm = first_gradient(free)
    assert wide.grad_norm == pytest.approx(norm, rel=1e-4)
    bound = norm / 4
    clipped, _, result = train(experience, [0], max_grad_norm=bound)
    assert result.grad_norm == pytest.approx(norm, rel=1e-4)
    assert first_gradient(clipped) == pytest.approx(bound, rel=1e-4)
    # Several mini-batches: the mean of their norms.
    _, _, both = train(experience, [0], [1], max_grad_norm=1e6, learning_rate=1e-12)
    _, _, other = train(experience, [1], max_grad_norm=1e6)
    assert both.grad_norm == pytest.approx((norm + other.grad_norm) / 2, rel=1e-4)


def padded_further(experience: Experience) -> Experience:
    """Returns the same experience with two more columns on both sides, garbage in them."""
    old = experience.responses
    responses = Responses(
        functional.pad(old.sequences, (2, 2), value=7),
        functional.pad(old.attention_mask, (2, 2)),
        functional.pad(old.response_mask, (0, 2)),
    )
    filled = [
        functional.pad(tensor.masked_fill(~old.response_mask, float("nan")), (0, 2), value=1e30)
        for tensor in experience[1:5]
        if tensor is not None
    ]
    # Off the response, log-probabilities and values are garbage; the rest is 0 there.
    advantages, returns = (tensor.nan_to_num(0.0) for tensor in filled[2:])
    return Experience(responses, filled[0], filled[1], advantages, returns)


@pytest.mark.parametrize("mini_batch_size", [1, 3])
def test_the_update_does_not_depend_on_the_padding(
    experience: Experience, train: Train, mini_batch_size
):
    orders = [5, 2, 0, 1, 4, 3], [0, 1, 2, 3, 4, 5]
    _, expected, result = train(experience, *orders, mini_batch_size=mini_batch_size)
    _, weights, again = train(padded_further(experience), *orders, mini_batch_size=mini_batch_size)
    assert equal(weights, expected)
    assert again.means == result.means


def test_tokens_weigh_equally_in_a_mini_batch(experience: Experience, train: Train):
    # One mini-batch of three rows: its loss is the sum over all their tokens by their number.
    lengths = experience.responses.lengths[:3].double()
    assert len(set(lengths.tolist())) > 1
    single = torch.tensor(
        [train(experience, [row], learning_rate=1e-12)[2].means.policy_loss for row in range(3)]
    )
    _, _, together = train(experience, [0, 1, 2], mini_batch_size=3)
    expected = float((single.double() * lengths).sum() / lengths.sum())
    assert together.means.policy_loss == pytest.approx(expected, rel=1e-4)


def test_training_raises_the_probability_of_what_paid_off(
    drifted_actors: Actors, experience: Experience, train: Train
):
    mask = experience.responses.response_mask
    praised = experience._replace(advantages=mask.float())
    _, _, first = train(praised, [0, 1, 2, 3, 4, 5], mini_batch_size=6, learning_rate=1e-4)
    _, _, both = train(praised, *([[0, 1, 2, 3, 4, 5]] * 4), mini_batch_size=6, learning_rate=1e-4)
    assert first.means.mean_ratio == pytest.approx(1, abs=1e-5)
    assert both.means.mean_ratio > 1.001


def test_orders_are_permutations_that_follow_seed_step_and_epoch():
    orders = epoch_orders(seed=1, step=2, epochs=3, batch=16)
    assert [sorted(order.tolist()) for order in orders] == [list(range(16))] * 3
    shown = {tuple(order.tolist()) for order in orders}
    assert len(shown) == 3
    again = epoch_orders(seed=1, step=2, epochs=4, batch=16)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(orders, again, strict=False))
    for other in (
        epoch_orders(seed=2, step=2, epochs=3, batch=16),
        epoch_orders(seed=1, step=3, epochs=3, batch=16),
    ):
        assert not shown & {tuple(order.tolist()) for order in other}
