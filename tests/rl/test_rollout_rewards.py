"""From score to advantages: which KL is paid, where a cut response ends, what is whitened."""

import pytest
import torch
from accelerate import Accelerator
from torch.testing import assert_close

from abcrl.config import PpoSettings, RewardMode
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.formulas.advantages import estimate_advantages
from abcrl.rl.update import PolicyUpdater
from tests.rl.rollouts import collect, with_mode

EOS = 0


@pytest.mark.parametrize("mode", ["abc", "rlhf", "uniform"])
def test_the_reward_pays_k1_of_the_sampled_token_and_no_other_estimate(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    rollout = collect(drifted_actors, prompts, with_mode(settings, mode))
    tokens, mask = rollout.tokens, rollout.responses.response_mask
    paid = (rollout.token_scores - rollout.token_rewards)[mask]
    # `collect` pays 0.2 a nat.
    assert_close(paid, 0.2 * (tokens.logprobs - tokens.ref_logprobs)[mask], atol=1e-5, rtol=0)
    assert (paid < 0).any()  # k3 and the exact KL never are
    assert (rollout.token_rewards[~mask] == 0).all()


def test_a_response_cut_at_its_cap_is_scored_on_its_last_token_and_ends_there(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(drifted_actors, prompts, with_mode(settings, "rlhf"))
    responses = rollout.responses
    ended, last = responses.ended(EOS), responses.lengths - 1
    assert 0 < int(ended.sum()) < len(ended)
    assert last.min() < responses.response_width - 1
    on_last = rollout.token_scores.gather(1, last[:, None])[:, 0]
    assert_close(on_last, rollout.scored.scores, atol=1e-6, rtol=0)
    assert (rollout.token_scores != 0).sum() == len(ended)

    # Nothing is bootstrapped, with EOS or without: the last token's advantage is reward - value.
    values, mask = rollout.tokens.values, responses.response_mask
    raw = estimate_advantages(rollout.token_rewards, values, mask, 1.0, 0.95).advantages
    at_end = (rollout.token_rewards - values).gather(1, last[:, None])
    assert_close(raw.gather(1, last[:, None]), at_end, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", list(RewardMode))
def test_advantages_are_whitened_once_over_all_tokens_of_the_rollout(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    rollout = collect(drifted_actors, prompts, with_mode(settings, mode))
    mask = rollout.responses.response_mask
    whitened = rollout.advantages[mask]
    assert abs(float(whitened.mean())) <= 1e-5
    assert float(whitened.var()) == pytest.approx(1, abs=1e-4)
    raw = estimate_advantages(
        rollout.token_rewards,
        rollout.tokens.values,
        mask,
        settings.ppo.gamma,
        settings.ppo.gae_lambda,
    ).advantages[mask]
    # One shift and one scale for all of them.
    correlation = torch.corrcoef(torch.stack([raw, whitened]))[0, 1]
    assert float(correlation) == pytest.approx(1, abs=1e-5)


def test_adam_is_fused_and_steps_as_the_paper_s(drifted_actors: Actors, settings: PpoSettings):
    updater = PolicyUpdater(
        drifted_actors.policy,
        Accelerator(cpu=True),
        settings.ppo,
        settings.response,
        eos_token_id=0,
    )
    [group] = updater.optimizer.param_groups
    assert group["fused"] is True
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)
    assert group["lr"] == settings.ppo.learning_rate
