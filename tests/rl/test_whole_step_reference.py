"""One whole PPO step against the paper's own code, weights before and after.

`tests/data/e2e` holds a recorded step of the paper's trainer on a 2-layer GPT-2 (16 single-sample
Adam steps); here our own classes repeat it from the same prompts, responses and dense scores. The
reference pads on the right and has a column per token but the first; ours are response windows.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from abcrl.config import AlgorithmConfig, KlConfig, PpoSettings, ResponseConfig
from abcrl.models import PolicyWithValueHead, RewardModel, disable_dropout
from abcrl.rl.actors import Actors
from abcrl.rl.formulas.advantages import estimate_advantages
from abcrl.rl.formulas.kl import KlController, shape_token_rewards, token_kl
from abcrl.rl.formulas.losses import LossMeans
from abcrl.rl.formulas.masked import masked_mean, masked_row_sums, masked_variance, whiten
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.scoring.scorer import Scorer
from abcrl.rl.token_statistics import TokenStatistics, evaluate_tokens
from abcrl.rl.update import Experience, PolicyUpdater

E2E = Path(__file__).parents[1] / "data" / "e2e"
CASE: dict[str, Any] = json.loads((E2E / "e2e.json").read_text())["cases"][0]
# No EOS ban: the reference scores the unconstrained distribution.
RESPONSE = ResponseConfig(min_new_tokens=0, cap_low=1, cap_high=7)
ALGORITHM = AlgorithmConfig(batch_size=4, mini_batch_size=1, ppo_epochs=4, learning_rate=1.41e-5)
EOS = 0


def recorded_model(name: str) -> GPT2LMHeadModel:
    model = GPT2LMHeadModel(GPT2Config.from_pretrained(E2E / "model"))
    model.load_state_dict(load_file(E2E / f"{CASE['name']}_{name}.safetensors"))
    disable_dropout(model)
    model.eval()
    return model


@pytest.fixture
def actors(tiny_classifier: Callable[..., PreTrainedModel]) -> Actors:
    policy = PolicyWithValueHead(recorded_model("policy_init"), seed=0)
    head = load_file(E2E / f"{CASE['name']}_vhead_init.safetensors")
    policy.value_head.load_state_dict(
        {"weight": head["summary.weight"], "bias": head["summary.bias"]}
    )
    unused = Scorer(RewardModel(tiny_classifier()))  # the scores are recorded
    return Actors(policy.eval(), recorded_model("ref"), unused, EOS)


@pytest.fixture
def responses() -> Responses:
    prompts, texts = CASE["queries"], CASE["responses"]
    P, R = max(map(len, prompts)), max(map(len, texts))
    rows = [
        [9] * (P - len(prompt)) + prompt + text + [9] * (R - len(text))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    mask = [
        [0] * (P - len(prompt)) + [1] * (len(prompt) + len(text)) + [0] * (R - len(text))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    attention_mask = torch.tensor(mask).bool()
    return Responses(torch.tensor(rows), attention_mask, attention_mask[:, P:])


def windows(rows: list[list[float]]) -> list[Tensor]:
    """Returns the response tokens of recorded [B, L - 1] columns, one tensor per response."""
    parts = []
    for row, prompt, text in zip(rows, CASE["queries"], CASE["responses"], strict=True):
        start = len(prompt) - 1
        parts.append(torch.tensor(row[start : start + len(text)]))
    return parts


def assert_recorded(ours: Tensor, name: str, *, tolerance: float) -> None:
    source = CASE if name in CASE else CASE["captured"]
    for row, expected in enumerate(windows(source[name])):
        assert_close(ours[row, : len(expected)], expected, atol=tolerance, rtol=tolerance)


def dense_scores() -> Tensor:
    scores = torch.zeros(4, max(map(len, CASE["scores"])))
    for row, values in enumerate(CASE["scores"]):
        scores[row, : len(values)] = torch.tensor(values)
    return scores


def experience_of(
    actors: Actors, responses: Responses
) -> tuple[Experience, TokenStatistics, Tensor]:
    """Returns what the update learns from, and the token rewards, all by our own functions."""
    mask = responses.response_mask
    tokens = evaluate_tokens(
        actors, responses, PpoSettings(response=RESPONSE), with_attention=False
    )
    kl = token_kl(tokens.logprobs, tokens.ref_logprobs)
    rewards = shape_token_rewards(dense_scores(), kl, CASE["config"]["kl_coef"], mask)
    advantages, returns = estimate_advantages(rewards, tokens.values, mask, 1.0, 0.95)
    whitened = whiten(advantages, mask)
    experience = Experience(responses, tokens.logprobs, tokens.values, whitened, returns)
    return experience, tokens, rewards


def updater_of(actors: Actors) -> PolicyUpdater:
    return PolicyUpdater(
        actors.policy, Accelerator(cpu=True), ALGORITHM, RESPONSE, eos_token_id=EOS
    )


def orders() -> list[Tensor]:
    return [torch.tensor(order) for order in CASE["permutations"]]


def test_the_case_has_the_papers_settings():
    assert CASE["config"]["lr"] == ALGORITHM.learning_rate
    assert CASE["config"]["mini_batch_size"] == ALGORITHM.mini_batch_size
    assert CASE["config"]["ppo_epochs"] == ALGORITHM.ppo_epochs == len(orders())
    assert CASE["config"]["kl_coef"] == KlConfig().coef


def test_rollout_quantities_agree_with_the_reference(actors: Actors, responses: Responses):
    experience, tokens, rewards = experience_of(actors, responses)

    assert_recorded(tokens.logprobs, "logprobs", tolerance=1e-5)
    assert_recorded(tokens.ref_logprobs, "ref_logprobs", tolerance=1e-5)
    assert_recorded(tokens.values, "values", tolerance=1e-5)
    assert_recorded(rewards, "rewards", tolerance=1e-5)
    assert_recorded(experience.returns, "returns", tolerance=1e-5)
    assert_recorded(experience.advantages, "advantages", tolerance=1e-5)


def test_rollout_statistics_and_the_kl_coefficient_agree(actors: Actors, responses: Responses):
    _, tokens, rewards = experience_of(actors, responses)
    mask = responses.response_mask
    kl = masked_row_sums(token_kl(tokens.logprobs, tokens.ref_logprobs), mask).mean()
    penalty = rewards - dense_scores()

    actual = {
        "objective/kl": kl,
        # The reference's name for the mean of -log p of what was sampled.
        "objective/entropy": masked_row_sums(-tokens.logprobs, mask).mean(),
        "ppo/mean_non_score_reward": masked_mean(penalty, mask),
    }
    for name, value in actual.items():
        assert float(value) == pytest.approx(CASE["stats"][name], rel=1e-4, abs=1e-5), name
    controller = KlController(KlConfig())
    assert controller.coef == CASE["stats"]["objective/kl_coef"]
    coefficient = controller.update(float(kl), 4)
    # Clipped at -0.2, which the reference holds in float32.
    assert coefficient == pytest.approx(CASE["kl_coef_after"], rel=1e-8)
    assert coefficient != controller.config.coef


def test_final_weights_agree_with_the_reference(actors: Actors, responses: Responses):
    experience, _, _ = experience_of(actors, responses)

    result = updater_of(actors).update(experience, orders())

    assert result.skipped == 0
    assert result.grad_norm is None
    initial = recorded_model("policy_init").state_dict()
    final = load_file(E2E / f"{CASE['name']}_policy_final.safetensors")
    ours = actors.policy.model.state_dict()
    assert ours.keys() == final.keys()
    moved = 0.0
    for name, expected in final.items():
        moved = max(moved, float((expected - initial[name]).abs().max()))
        assert_close(ours[name], expected, atol=2e-5, rtol=0, msg=name)
        # Far inside what Adam's 16 steps moved, too.
        assert_close(ours[name], expected, atol=2e-6, rtol=0, msg=name)
    assert moved > 1e-4
    head = load_file(E2E / f"{CASE['name']}_vhead_final.safetensors")
    for ours_name, name in (("weight", "summary.weight"), ("bias", "summary.bias")):
        parameter = actors.policy.value_head.get_parameter(ours_name)
        assert_close(parameter.detach(), head[name], atol=2e-6, rtol=0)


def test_update_statistics_agree_with_the_reference(actors: Actors, responses: Responses):
    # The reference averages over mini-batches, ours over tokens: one mini-batch at a time, and
    # then the plain mean, is the reference's.
    experience, _, _ = experience_of(actors, responses)
    updater = updater_of(actors)
    steps: list[LossMeans] = []
    moments: list[Tensor] = []
    for order in orders():
        for row in torch.split(order, 1):
            means = updater.update(experience, [row]).means
            assert means is not None
            steps.append(means)
            batch = experience.take(row)
            mask = batch.responses.response_mask
            moments.append(
                torch.stack([
                    masked_mean(batch.advantages, mask),
                    masked_mean(batch.returns, mask),
                    masked_variance(batch.returns, mask),
                    masked_mean(batch.values, mask),
                    masked_variance(batch.values, mask),
                ])
            )  # fmt: skip
    moment = torch.stack(moments).mean(0).tolist()

    def mean(name: str) -> float:
        return float(sum(getattr(step, name) for step in steps)) / len(steps)

    actual = {
        "ppo/loss/policy": mean("policy_loss"),
        "ppo/loss/value": mean("value_loss"),
        "ppo/loss/total": mean("total_loss"),
        "ppo/policy/approxkl": mean("approx_kl"),
        "ppo/policy/policykl": mean("policy_kl"),
        "ppo/policy/clipfrac": mean("clip_fraction"),
        "ppo/val/error": mean("value_error"),
        "ppo/val/clipfrac": mean("value_clip_fraction"),
        "ppo/policy/advantages_mean": moment[0],
        "ppo/returns/mean": moment[1],
        "ppo/returns/var": moment[2],
        "ppo/val/mean": moment[3],
        "ppo/val/var": moment[4],
    }
    for name, value in actual.items():
        assert value == pytest.approx(CASE["stats"][name], rel=1e-3, abs=1e-6), name
