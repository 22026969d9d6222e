"""What an update may be told: micro-batches, a KL loss, when to stop, at which learning rate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from abcrl.config import KlConfig, PpoSettings, RunFailedError
from abcrl.rl.actors import Actors
from abcrl.rl.metrics import update_metrics
from abcrl.rl.reference_kl import ReferenceKl
from abcrl.rl.update import Experience, PolicyUpdater, make_accelerator

Train = Callable[..., tuple[PolicyUpdater, dict[str, Tensor], Any]]
ALL = [5, 2, 0, 1, 4, 3]


def gradient_of(updater: PolicyUpdater) -> Tensor:
    """The gradient that reached Adam in a first step: its momentum is (1 - 0.9) times that."""
    state = updater.optimizer.state
    return torch.cat([state[p]["exp_avg"].flatten() for p in updater._parameters]) / 0.1


def distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("micro", [1, 2, 3])
@pytest.mark.parametrize("loss", ["none", "k2", "exact"])
def test_micro_batches_do_not_change_the_update(
    drifted_actors: Actors, experience: Experience, train: Train, settings: PpoSettings, micro, loss
):
    assert len(set(experience.responses.lengths.tolist())) > 2  # or a mean of means would do
    reference = ReferenceKl.of(drifted_actors, with_kl(settings, loss=loss))
    options: dict[str, Any] = {
        "mini_batch_size": 6, "learning_rate": 1e-5, "max_grad_norm": 1.0, "reference": reference,
    }  # fmt: skip
    whole, expected, result = train(experience, ALL, ALL, **options)
    parts, weights, again = train(experience, ALL, ALL, micro_batch_size=micro, **options)

    start = drifted_actors.policy.state_dict()
    assert distance(expected, start) > 1.9e-5  # two steps of Adam
    for name, tensor in weights.items():
        if name.endswith(
            "c_attn.bias"
        ):  # keys' biases: a gradient of rounding, which Adam blows up
            tensor[32:64] = expected[name][32:64]
    assert distance(weights, expected) <= 1e-6
    assert again.grad_norm == pytest.approx(result.grad_norm, rel=1e-5)
    assert update_metrics(again) == pytest.approx(update_metrics(result), rel=1e-4, abs=1e-6)
    whole, _, _ = train(experience, ALL, **options)
    parts, _, _ = train(experience, ALL, micro_batch_size=micro, **options)
    gradient = gradient_of(whole)
    assert (gradient_of(parts) - gradient).norm() <= 1e-5 * gradient.norm()


def test_a_skipped_mini_batch_leaves_no_gradient_of_its_micro_batches(
    experience: Experience, train: Train
):
    # e^9 in one of three micro-batches puts the whole mini-batch above the threshold of 10
    logprobs = experience.logprobs.clone()
    logprobs[2] -= 9.0
    far = experience._replace(logprobs=logprobs)
    options = {"mini_batch_size": 3, "micro_batch_size": 1, "batch_size": 6}
    _, weights, result = train(far, [0, 1, 2, 3, 4, 5], **options)
    assert result.skipped == 1
    _, expected, _ = train(experience, [3, 4, 5], **options)
    assert distance(weights, expected) == 0


def with_kl(settings: PpoSettings, **changes: object) -> PpoSettings:
    return settings.replace(kl=KlConfig().replace(**changes))


@pytest.mark.parametrize("loss", ["k2", "exact"])
def test_a_kl_loss_is_added_with_its_weight(
    drifted_actors: Actors, experience: Experience, train: Train, settings: PpoSettings, loss
):
    def gradient(coef: float | None) -> Tensor:
        changes = {"loss": "none"} if coef is None else {"loss": loss, "loss_coef": coef}
        reference = ReferenceKl.of(drifted_actors, with_kl(settings, **changes))
        updater, _, result = train(experience, ALL, mini_batch_size=6, reference=reference)
        metrics = update_metrics(result)
        assert ("policy/kl_loss" in metrics) == (coef is not None)
        return gradient_of(updater)

    plain, one, two = gradient(None), gradient(1.0), gradient(2.0)
    assert (one - plain).norm() > 1e-3 * plain.norm()
    # linear in its weight: what 2 adds is twice what 1 adds
    assert ((two - plain) - 2 * (one - plain)).norm() <= 1e-3 * (one - plain).norm()


def test_without_a_kl_loss_the_reference_is_not_asked(
    experience: Experience, train: Train, drifted_actors: Actors
):
    def refuse(_: object) -> Tensor:
        raise AssertionError

    _, expected, _ = train(experience, ALL)
    for config in (KlConfig(), KlConfig(loss="k2", loss_coef=1e-30)):
        _, weights, _ = train(experience, ALL, reference=ReferenceKl(config, refuse))
        assert distance(weights, expected) == 0


def test_a_kl_loss_that_is_not_finite_fails_the_run(
    drifted_actors: Actors, experience: Experience, train: Train, settings: PpoSettings
):
    assert experience.ref_logprobs is not None
    broken = experience._replace(ref_logprobs=experience.ref_logprobs * float("nan"))
    reference = ReferenceKl.of(drifted_actors, with_kl(settings, loss="k2"))
    _, weights, error = train(broken, ALL, reference=reference)
    assert isinstance(error, RunFailedError)
    assert "kl_loss is nan" in str(error)
    assert distance(weights, drifted_actors.policy.state_dict()) == 0


def stop_at(target: float | None) -> ReferenceKl:
    return ReferenceKl(KlConfig(target_kl=target), lambda _: torch.zeros(()))


def test_epochs_end_once_the_policy_has_moved_too_far(experience: Experience, train: Train):
    orders = [ALL] * 4
    moved = [train(experience, *orders[:n])[2].means.approx_kl for n in (1, 2, 3)]
    assert moved[0] < moved[1] < moved[2]
    _, expected, _ = train(experience, *orders[:2])

    # The second epoch's own mean is 2 * moved[1] - moved[0], as all epochs have the same tokens.
    _, weights, result = train(experience, *orders, reference=stop_at(moved[1]))
    assert result.epochs == 2
    assert distance(weights, expected) == 0
    assert update_metrics(result)["update/epochs"] == 2.0


def test_a_first_epoch_is_always_run_and_a_far_target_ends_none(
    experience: Experience, train: Train
):
    _, expected, without = train(experience, ALL, ALL)
    _, weights, result = train(experience, ALL, ALL, reference=stop_at(1e9))
    assert result.epochs == 2
    assert distance(weights, expected) == 0
    assert train(experience, ALL, ALL, reference=stop_at(1e-12))[2].epochs == 1
    assert without.epochs is None
    assert "update/epochs" not in update_metrics(without)


def test_ratios_that_overflow_end_the_epochs(experience: Experience, train: Train):
    overflowing = experience._replace(logprobs=experience.logprobs - 200.0)
    result = train(overflowing, ALL, ALL, reference=stop_at(1.0))[2]
    assert (result.epochs, result.skipped, result.means) == (1, 6, None)


def test_a_learning_rate_for_one_update_stays_until_the_next_is_given(
    drifted_actors: Actors, experience: Experience, train: Train
):
    _, expected, _ = train(experience, ALL, learning_rate=2e-4)
    updater, weights, _ = train(experience, ALL, learning_rate=1e-3, rate=2e-4)
    assert distance(weights, expected) == 0
    assert [group["lr"] for group in updater.optimizer.param_groups] == [2e-4]


def test_accelerates_environment_variables_change_nothing(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    accelerator = make_accelerator(torch.device("cpu"))
    weight = torch.ones((), requires_grad=True)
    accelerator.backward(3 * weight)
    assert weight.grad == 3
    assert accelerator.scaler is None
