"""The KL penalty: estimators by hand, the exact divergence, token rewards, the coefficient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from abcrl.config import KlConfig
from abcrl.rl.formulas.kl import (
    KlController,
    exact_kl,
    kl_alarm,
    next_kl_coef,
    shape_token_rewards,
    token_kl,
)
from abcrl.rl.formulas.logprobs import BANNED_LOGIT

LN2 = math.log(2)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # policy 1/2 against reference 1/4: d = ln 2; then the other way round: d = -ln 2
        ("k1", [LN2, -LN2]),
        ("abs", [LN2, LN2]),
        ("k2", [LN2**2 / 2, LN2**2 / 2]),
        ("k3", [1 / 2 - 1 + LN2, 2 - 1 - LN2]),  # exp(-d) - 1 + d
    ],
)
def test_estimators_by_hand(estimator, expected):
    half_quarter = torch.tensor([[1 / 2, 1 / 4]]).log()
    quarter_half = torch.tensor([[1 / 4, 1 / 2]]).log()

    assert_close(token_kl(half_quarter, quarter_half, estimator), torch.tensor([expected]))


def test_k3_of_nearly_equal_logprobs_does_not_cancel():
    # exp(-d) - 1 + d = d^2 / 2 to first order: 5e-9 for d = 1e-4, below float32's step at 1
    kl = token_kl(torch.tensor([[1e-4]]), torch.zeros(1, 1), "k3")

    assert kl.item() == pytest.approx(5e-9, rel=0.01)


def test_exact_kl_by_hand():
    policy = torch.tensor([[[1 / 2, 1 / 4, 1 / 4]]]).log()
    reference = torch.tensor([[[1 / 4, 1 / 4, 1 / 2]]]).log()

    # 1/2 * ln 2 + 1/4 * ln 1 + 1/4 * ln 1/2 = ln 2 / 4
    assert exact_kl(policy, reference).item() == pytest.approx(LN2 / 4)


@pytest.mark.parametrize("banned", [BANNED_LOGIT, -math.inf])
def test_a_token_that_only_the_policy_cannot_choose_adds_nothing(banned):
    policy = torch.tensor([[[banned, 0.0, 0.0]]]).log_softmax(-1)
    reference = torch.zeros(1, 1, 3).log_softmax(-1)

    # halves against thirds: ln(1/2 / 1/3)
    assert exact_kl(policy, reference).item() == pytest.approx(math.log(3 / 2))


def random_logits(seed: int, batch: int, width: int, vocabulary: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, width, vocabulary)
    logits, ref_logits = (3 * torch.randn(shape, generator=generator) for _ in range(2))
    banned = seed % vocabulary
    logits[:, 0, banned] = ref_logits[:, 0, banned] = BANNED_LOGIT
    return [logits, ref_logits]


@given(SEEDS, st.integers(1, 3), st.integers(1, 5), st.integers(2, 9))
def test_exact_kl_is_the_expectation_of_the_unbiased_estimators(seed, batch, width, vocabulary):
    logits, ref_logits = random_logits(seed, batch, width, vocabulary)
    probabilities = logits.softmax(-1)

    logps, ref_logps = logits.log_softmax(-1), ref_logits.log_softmax(-1)

    exact = exact_kl(logps, ref_logps)

    assert (exact >= -1e-6).all()
    possible = probabilities > 0
    for estimator in ("k1", "k3"):
        # every token of the vocabulary in turn is the one sampled: [B * R, V]
        estimates = token_kl(logps.flatten(0, 1), ref_logps.flatten(0, 1), estimator)
        expectation = (probabilities * estimates.view_as(logits).where(possible, 0.0)).sum(-1)
        assert_close(exact, expectation, rtol=1e-4, atol=1e-5)


@given(SEEDS)
def test_exact_kl_to_itself_is_zero_and_its_gradients_are_finite(seed):
    logits, ref_logits = random_logits(seed, 2, 3, 5)
    logits.requires_grad_()
    ref_logits.requires_grad_()

    logps, ref_logps = logits.log_softmax(-1), ref_logits.log_softmax(-1)

    assert_close(exact_kl(logps, logps), torch.zeros(2, 3))
    gradients = torch.autograd.grad(exact_kl(logps, ref_logps).sum(), (logits, ref_logits))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_exact_kl_is_zero_off_the_mask():
    logps = torch.tensor([[[-0.3, -1.3], [math.nan, 0.0]]])
    mask = torch.tensor([[True, False]])

    kl = exact_kl(logps, torch.zeros(1, 2, 2).log_softmax(-1), mask)

    assert kl[0, 0] > 0
    assert kl[0, 1] == 0


def test_token_rewards_by_hand():
    token_scores = torch.tensor([[0.25, 0.75, math.nan]])
    kl = torch.tensor([[1.0, -0.5, math.inf]])
    mask = torch.tensor([[True, True, False]])

    rewards = shape_token_rewards(token_scores, kl, 0.2, mask)

    # 0.25 - 0.2 * 1 = 0.05; 0.75 + 0.2 * 0.5 = 0.85
    assert_close(rewards, torch.tensor([[0.05, 0.85, 0.0]]))


STEERED = KlConfig(coef=0.2, controller="adaptive", target=6.0, horizon=100)


@pytest.mark.parametrize(
    ("mean_kl", "factor"),
    [
        (6.0, 1.0),  # on target
        (6.6, 1.01),  # error 0.1, times 10 responses of a horizon of 100
        (12.0, 1.02),  # error 1, clipped to 0.2
        (3.0, 0.98),  # error -0.5, clipped to -0.2
        (-40.0, 0.98),  # a negative KL is below the target, as in trl
    ],
)
def test_the_adaptive_coefficient_by_hand(mean_kl, factor):
    assert next_kl_coef(0.2, mean_kl, 10, STEERED) == pytest.approx(0.2 * factor, rel=1e-12)


def test_the_fixed_coefficient_stays():
    fixed = KlConfig(coef=0.2, controller="fixed")

    assert KlController(fixed).update(1e6, 16) == 0.2


@given(st.lists(st.floats(-1e3, 1e3), max_size=20), st.integers(0, 20))
def test_a_controller_continued_from_its_coefficient_goes_the_same_way(kls, cut):
    whole, first = KlController(STEERED), KlController(STEERED)
    for kl in kls[:cut]:
        first.update(kl, 16)
    second = KlController(STEERED, coef=first.coef)
    for kl in kls[cut:]:
        second.update(kl, 16)
    for kl in kls:
        before = whole.coef
        assert whole.update(kl, 16) == whole.coef
        assert abs(whole.coef / before - 1) <= 0.2 * 16 / 100 + 1e-12

    assert second.coef == whole.coef


@pytest.mark.parametrize("controller", ["fixed", "adaptive"])
@pytest.mark.parametrize("mean_kl", [math.nan, math.inf])
def test_a_kl_that_is_no_number_is_refused(controller, mean_kl):
    with pytest.raises(ValueError, match="mean_kl must be finite, received"):
        KlController(KlConfig(controller=controller)).update(mean_kl, 16)


@pytest.mark.parametrize(("mean_kl", "alarmed"), [(6.0, False), (-1.0, False), (-1.01, True)])
def test_a_kl_that_cannot_be_one_raises_an_alarm(mean_kl, alarmed):
    message = kl_alarm(mean_kl)
    assert (message is not None) == alarmed
    if message is not None:
        assert f"{mean_kl:.1f} nats" in message
        assert len(message.splitlines()) == 1
