"""PPO's mathematics against cases recorded from the paper's own code (trl 0.7.4).

`tests/data/reference_cases.json`, and any further file named by ABCRL_REFERENCE_CASES.
Off the mask the reference holds garbage and ours zeros: only response tokens are compared.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from abcrl.config import KlConfig
from abcrl.rl.formulas.advantages import estimate_advantages
from abcrl.rl.formulas.kl import KlController, KlEstimator, shape_token_rewards, token_kl
from abcrl.rl.formulas.losses import (
    PpoLoss,
    average_losses,
    combine_losses,
    exceeds_ratio_threshold,
    policy_loss,
    token_entropy,
    value_loss,
)
from abcrl.rl.formulas.masked import WHITEN_EPSILON, masked_mean, masked_variance, whiten

Case = dict[str, Any]

RECORDED = Path(__file__).parents[1] / "data" / "reference_cases.json"
ESTIMATORS: dict[str, KlEstimator] = {"kl": "k1", "abs": "abs", "mse": "k2"}


def recorded(group: str) -> list[Any]:
    """Returns the cases of one group as parameters, from every file there is."""
    held_back = os.environ.get("ABCRL_REFERENCE_CASES")
    files = [RECORDED, *([Path(held_back)] if held_back else [])]
    return [
        pytest.param(case, id=f"{file.stem}-{case['id']}")
        for file in files
        for case in json.loads(file.read_text())[group]
    ]


def floats(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def assert_equal_on(mask: Tensor, actual: Tensor, expected: Any, tolerance: float) -> None:
    assert_close(actual[mask], floats(expected)[mask], rtol=tolerance, atol=tolerance)
    assert (actual[~mask] == 0).all()


@pytest.mark.parametrize("case", recorded("compute_rewards"))
def test_token_rewards_agree_with_the_reference(case: Case):
    mask = torch.tensor(case["masks"]).bool()
    token_scores = torch.zeros(mask.shape)
    token_scores[mask] = floats([score for row in case["scores"] for score in row])

    kl = token_kl(
        floats(case["logprobs"]), floats(case["ref_logprobs"]), ESTIMATORS[case["kl_penalty"]]
    )
    rewards = shape_token_rewards(token_scores, kl, case["kl_coef"], mask)

    penalty = -case["kl_coef"] * kl
    assert_close(penalty, floats(case["expected"]["non_score_rewards"]), rtol=1e-6, atol=1e-6)
    assert_equal_on(mask, rewards, case["expected"]["rewards"], 1e-6)


@pytest.mark.parametrize("case", recorded("gae"))
def test_advantages_agree_with_the_reference(case: Case):
    mask = torch.tensor(case["masks"]).bool()
    rewards, values, window = floats(case["rewards"]), floats(case["values"]), mask
    if case["whiten_rewards"]:
        # The reference whitens the zeros of the padding too, and GAE then reads what follows a
        # response. To repeat that, the padding becomes part of it: value 0, a whitened zero.
        mean, variance = masked_mean(rewards, mask), masked_variance(rewards, mask)
        whitened_zero = mean - mean * torch.rsqrt(variance + WHITEN_EPSILON)
        rewards = whiten(rewards, mask, shift_mean=False).where(mask, whitened_zero)
        values, window = values.where(mask, 0.0), torch.ones_like(mask)

    estimate = estimate_advantages(rewards, values, window, float(case["gamma"]), case["lam"])

    advantages, returns = (part.where(mask, 0.0) for part in estimate)
    expected = case["expected"]
    assert_equal_on(mask, advantages, expected["raw_advantages_masked"], 1e-5)
    assert_equal_on(mask, returns, expected["returns"], 1e-5)
    assert_equal_on(mask, whiten(advantages, mask), expected["advantages"], 1e-5)


def losses_of(case: Case, logprobs: Tensor, values: Tensor) -> PpoLoss:
    mask = torch.tensor(case["masks"]).bool()
    old_logprobs, advantages = floats(case["old_logprobs"]), floats(case["advantages"])
    return combine_losses(
        policy_loss(logprobs, old_logprobs, advantages, mask, case["cliprange"]),
        value_loss(
            values,
            floats(case["values"]),
            floats(case["returns"]),
            mask,
            case["cliprange_value"],
        ),
        case["vf_coef"],
    )


@pytest.mark.parametrize("case", recorded("ppo_loss"))
def test_losses_and_their_gradients_agree_with_the_reference(case: Case):
    mask = torch.tensor(case["masks"]).bool()
    logprobs = floats(case["logprobs"]).requires_grad_()
    values = floats(case["vpreds"]).requires_grad_()
    expected = case["expected"]

    loss = losses_of(case, logprobs, values)
    means = average_losses([loss])
    skipped = exceeds_ratio_threshold(means.mean_ratio, case["ratio_threshold"])

    assert skipped == expected["skipped"]
    if skipped:  # the reference multiplies both losses by 0; a caller of ours takes no step
        assert expected["total"] == 0
        return
    assert means.policy_loss == pytest.approx(expected["pg_loss"], rel=1e-5, abs=1e-5)
    vf_loss = case["vf_coef"] * means.value_loss
    assert vf_loss == pytest.approx(expected["vf_loss_times_coef"], rel=1e-5, abs=1e-5)
    assert means.total_loss == pytest.approx(expected["total"], rel=1e-5, abs=1e-5)

    gradients = torch.autograd.grad(loss.total / mask.sum(), (logprobs, values))
    assert_equal_on(mask, gradients[0], expected["grad_logprobs"], 1e-5)
    assert_equal_on(mask, gradients[1], expected["grad_vpreds"], 1e-5)


@pytest.mark.parametrize("case", recorded("ppo_loss"))
def test_loss_statistics_agree_with_the_reference(case: Case):
    mask = torch.tensor(case["masks"]).bool()
    values, old_values = floats(case["vpreds"]), floats(case["values"])
    returns, advantages = floats(case["returns"]), floats(case["advantages"])
    expected = case["expected"]["stats"]

    means = average_losses([losses_of(case, floats(case["logprobs"]), values)])

    actual = {
        "policy/entropy": masked_mean(
            token_entropy(floats(case["logits"]).log_softmax(-1)), mask
        ).item(),
        "policy/approxkl": means.approx_kl,
        "policy/policykl": means.policy_kl,
        "policy/clipfrac": means.clip_fraction,
        "policy/advantages_mean": masked_mean(advantages, mask).item(),
        "returns/mean": masked_mean(returns, mask).item(),
        "returns/var": masked_variance(returns, mask).item(),
        "val/vpred": masked_mean(values, mask).item(),
        "val/error": means.value_error,
        "val/clipfrac": means.value_clip_fraction,
        "val/mean": masked_mean(old_values, mask).item(),
        "val/var": masked_variance(old_values, mask).item(),
    }
    if not case["expected"]["skipped"]:
        actual |= {
            "loss/policy": means.policy_loss,
            "loss/value": means.value_loss,
            "loss/total": means.total_loss,
        }
    compared = actual.keys() & expected.keys()
    assert len(compared) >= 12
    for name in sorted(compared):
        assert actual[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("case", recorded("kl_controller"))
def test_kl_coefficients_agree_with_the_reference(case: Case):
    adaptive = case["kind"] == "adaptive"
    steering = {"target": float(case["target"]), "horizon": case["horizon"]} if adaptive else {}
    config = KlConfig(coef=case["init_kl_coef"], controller=case["kind"], **steering)
    controller = KlController(config)

    coefficients = [controller.update(kl, case["n_steps"]) for kl in case["kls"]]

    assert coefficients == pytest.approx(case["expected_values"], rel=1e-12, abs=1e-12)
