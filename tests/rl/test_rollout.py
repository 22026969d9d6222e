"""One rollout with whole models: what PPO is given is about the responses that were sampled."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.testing import assert_close

from abcrl.config import PpoSettings, RewardMode
from abcrl.data import Prompt
from abcrl.rl import token_statistics
from abcrl.rl.actors import Actors
from abcrl.rl.formulas.kl import token_kl
from abcrl.rl.metrics import rollout_metrics
from abcrl.rl.token_statistics import evaluate_tokens
from abcrl.rl.update import Experience, PolicyUpdater
from tests.rl.rollouts import collect, sample, with_mode

MakeActors = Callable[..., Actors]
EOS = 0


@pytest.mark.parametrize("mode", list(RewardMode))
def test_token_scores_sum_to_the_score_less_the_offset(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    rollout = collect(drifted_actors, prompts, with_mode(settings, mode), score_offset=0.75)
    mask = rollout.responses.response_mask

    assert rollout.scored.scores.std() > 0.1
    assert_close(rollout.token_scores.sum(-1), rollout.scored.scores - 0.75, atol=1e-5, rtol=1e-5)
    assert_close(rollout.credit.weights.sum(-1), torch.ones(16), atol=1e-6, rtol=0)
    for part in (rollout.token_scores, rollout.token_rewards, rollout.advantages, rollout.returns):
        assert part.isfinite().all()
        assert (part[~mask] == 0).all()
    kl = token_kl(rollout.tokens.logprobs, rollout.tokens.ref_logprobs)
    assert_close(rollout.token_rewards[mask], (rollout.token_scores - 0.2 * kl)[mask])
    assert rollout.advantages[mask].mean().abs() < 1e-5
    assert abs(rollout.advantages[mask].std() - 1) < 1e-4


def test_the_mode_alone_changes_neither_responses_nor_scores(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollouts = {
        mode: collect(drifted_actors, prompts, with_mode(settings, mode)) for mode in RewardMode
    }
    sparse = rollouts[RewardMode.RLHF]
    for mode, rollout in rollouts.items():
        assert torch.equal(rollout.responses.sequences, sparse.responses.sequences)
        assert torch.equal(rollout.scored.scores, sparse.scored.scores)
        assert torch.equal(rollout.tokens.logprobs, sparse.tokens.logprobs)
        assert (mode is RewardMode.RLHF) == torch.equal(rollout.token_scores, sparse.token_scores)


def test_a_policy_that_is_its_reference_has_no_kl(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(make_actors(), prompts, settings)
    mask = rollout.responses.response_mask
    kl = token_kl(rollout.tokens.logprobs, rollout.tokens.ref_logprobs)
    assert kl[mask].abs().max() <= 1e-6
    assert rollout.tokens.kl_exact.abs().max() <= 1e-6
    assert_close(rollout.token_rewards, rollout.token_scores, atol=1e-6, rtol=0)


def test_a_policy_that_has_drifted_has_kl(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(drifted_actors, prompts, settings)
    mask = rollout.responses.response_mask
    assert (rollout.tokens.kl_exact[mask] > 0).all()
    assert (rollout.tokens.kl_exact[~mask] == 0).all()
    metrics = rollout_metrics(rollout, drifted_actors, kl_coef=0.2)
    assert metrics["objective/kl_exact"] > 0.05


def test_logprobs_are_those_of_the_distribution_that_was_sampled(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    # Each response alone, token by token, with temperature and EOS ban written out.
    responses = sample(drifted_actors, prompts, settings)
    tokens = evaluate_tokens(drifted_actors, responses, settings, with_attention=False)
    seen = set()
    for row in range(16):
        prompt, response = responses.ids_of(row)
        for model, logprobs in (
            (drifted_actors.policy.model, tokens.logprobs),
            (drifted_actors.ref_policy, tokens.ref_logprobs),
        ):
            run: Any = model
            with torch.no_grad():
                logits = run(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            logits = logits / settings.response.temperature
            logits[: settings.response.min_new_tokens, EOS] = -torch.inf
            expected = logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]
            assert_close(logprobs[row, : len(response)], expected, atol=1e-5, rtol=0)
        seen.add(response[-1] == EOS)
    assert seen == {True, False}  # some responses ended, some were cut


def test_values_and_entropy_do_not_depend_on_the_padding(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    together = sample(drifted_actors, prompts, settings)
    tokens = evaluate_tokens(drifted_actors, together, settings, with_attention=False)
    for row in range(16):
        alone = together.take(torch.tensor([row]))
        single = evaluate_tokens(drifted_actors, alone, settings, with_attention=False)
        for name in ("values", "entropy", "kl_exact"):
            batched = getattr(tokens, name)[row : row + 1, : alone.response_width]
            assert_close(getattr(single, name), batched, atol=1e-5, rtol=0)


def test_the_first_update_starts_at_ratio_one(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(drifted_actors, prompts, settings)
    # A learning rate that moves no float32 weight: every mini-batch is then the first.
    algorithm = settings.ppo.replace(learning_rate=1e-12, mini_batch_size=4)
    updater = PolicyUpdater(
        drifted_actors.policy,
        Accelerator(cpu=True),
        algorithm,
        settings.response,
        eos_token_id=EOS,
    )
    tokens = rollout.tokens
    experience = Experience(
        rollout.responses, tokens.logprobs, tokens.values, rollout.advantages, rollout.returns
    )

    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for order in torch.split(shuffled, 4):
        means = updater.update(experience, [order]).means
        assert means is not None
        count = int(rollout.responses.lengths[order].sum())
        # approx_kl is the mean of log_ratio^2 / 2, and no square exceeds the sum of all.
        assert (2 * count * means.approx_kl) ** 0.5 <= 1e-5
        assert means.mean_ratio == pytest.approx(1, abs=1e-6)
        assert means.clip_fraction == 0


def test_take_trims_without_changing_results(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    responses = sample(drifted_actors, prompts, settings)
    whole = evaluate_tokens(drifted_actors, responses, settings, with_attention=False)
    short = responses.lengths.argsort()[:4]
    rows = short[torch.tensor([2, 0, 3])]
    taken = responses.take(rows)

    assert taken.response_width == responses.lengths[rows].max() < responses.response_width
    prompt_lengths = [len(prompts[row].ids) for row in rows]
    assert taken.prompt_width == max(prompt_lengths)
    for position, row in enumerate(rows.tolist()):
        assert taken.ids_of(position) == responses.ids_of(row)
    part = evaluate_tokens(drifted_actors, taken, settings, with_attention=False)
    mask = taken.response_mask
    for name in ("logprobs", "ref_logprobs", "values", "entropy", "kl_exact"):
        expected = getattr(whole, name)[rows, : taken.response_width]
        assert_close(getattr(part, name)[mask], expected[mask], atol=1e-5, rtol=0)
    scores = drifted_actors.scorer.score(responses).scores
    part_scores = drifted_actors.scorer.score(taken).scores
    assert_close(part_scores, scores[rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("limit", "at_once", "largest"),
    [("_LOGITS_AT_ONCE", 1, 1), ("_LOGITS_AT_ONCE", 16 * 9 * 3, 5), ("TOKENS_AT_ONCE", 40, 5)],
)
def test_evaluating_in_parts_changes_nothing(
    monkeypatch,
    drifted_actors: Actors,
    prompts: list[Prompt],
    settings: PpoSettings,
    limit,
    at_once,
    largest,
):
    responses = sample(drifted_actors, prompts, settings)
    whole = evaluate_tokens(drifted_actors, responses, settings, with_attention=True)
    batches: list[int] = []
    drifted_actors.policy.register_forward_pre_hook(
        lambda _, inputs: batches.append(len(inputs[0]))
    )
    monkeypatch.setattr(token_statistics, limit, at_once)
    chunked = evaluate_tokens(drifted_actors, responses, settings, with_attention=True)

    assert sum(batches) == 16
    assert len(batches) > 1
    assert max(batches) <= largest
    mask = responses.response_mask
    for ours, theirs in zip(chunked, whole, strict=True):
        assert ours is not None
        assert theirs is not None
        assert_close(ours[mask], theirs[mask], atol=1e-5, rtol=0)


def test_a_rollout_changes_no_model_and_keeps_no_graph(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    before = copy.deepcopy(drifted_actors.policy.state_dict())
    rollout = collect(drifted_actors, prompts, with_mode(settings, "abc-d"))
    for name, value in drifted_actors.policy.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(part.requires_grad for part in rollout.tokens if part is not None)
    assert not rollout.advantages.requires_grad
    again = collect(drifted_actors, prompts, with_mode(settings, "abc-d"))
    assert torch.equal(again.advantages, rollout.advantages)


def test_a_batch_whose_kl_cannot_be_one_raises_the_alarm_in_its_metrics(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(drifted_actors, prompts, settings)
    assert "objective/kl_alarm" not in rollout_metrics(rollout, drifted_actors, kl_coef=0.2)
    # log-probabilities of another distribution than the one that was sampled from
    scored = rollout.tokens._replace(logprobs=rollout.tokens.ref_logprobs - 1.0)
    wrong = dataclasses.replace(rollout, tokens=scored)
    metrics = rollout_metrics(wrong, drifted_actors, kl_coef=0.2)
    assert metrics["objective/kl_alarm"] == 1.0
    assert metrics["objective/kl"] < -1
