"""The attention of a rollout is that of the tokens it is about, and no more is captured."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, PreTrainedModel

from abcrl.config import PpoSettings, RewardMode
from abcrl.data import Prompt
from abcrl.densification import needs
from abcrl.rl.actors import Actors
from abcrl.rl.token_statistics import evaluate_tokens
from tests.rl.rollouts import collect, sample, with_mode

MakeActors = Callable[..., Actors]


@pytest.mark.parametrize("mode", list(RewardMode))
def test_only_what_the_mode_needs_is_captured(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    rollout = collect(drifted_actors, prompts, with_mode(settings, mode))
    captured = {
        "reward_attention": rollout.scored.reward_attention,
        "prefix_scores": rollout.scored.prefix_scores,
        "policy_attention": rollout.tokens.policy_attention,
    }
    found = {name for name, value in captured.items() if value is not None}
    assert found == needs(mode) & set(captured)


def generated_attention(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Tensor:
    """Returns the attention in force while each token was generated, with a cache, step by step."""
    eager: Any = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    R, P = len(response), len(prompt)
    attention = torch.zeros(R, R)
    cache = DynamicCache(config=eager.config)
    fed = prompt
    for k in range(R):
        with torch.no_grad():
            output = eager(
                torch.tensor([fed]), past_key_values=cache, use_cache=True, output_attentions=True
            )
        attention[k, :k] = output.attentions[-1][0].mean(0)[-1, P:]
        fed = [response[k]]
    return attention


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "gemma"])
def test_policy_attention_equals_that_of_generation(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, architecture
):
    actors = make_actors(architecture)
    responses = sample(actors, prompts, settings)
    tokens = evaluate_tokens(actors, responses, settings, with_attention=True)
    assert tokens.policy_attention is not None
    R = responses.response_width
    assert tokens.policy_attention.shape == (16, R, R)
    for row in range(16):
        prompt, response = responses.ids_of(row)
        expected = generated_attention(actors.policy.model, prompt, response)
        r = len(response)
        assert_close(tokens.policy_attention[row, :r, :r], expected, atol=1e-5, rtol=0)


def test_layer_and_heads_are_the_policys(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = make_actors()
    responses = sample(actors, prompts, settings)
    chosen = with_mode(settings, "abc-d", layer=0, heads=[1, 3])
    tokens = evaluate_tokens(actors, responses, chosen, with_attention=True)
    assert tokens.policy_attention is not None
    eager: Any = copy.deepcopy(actors.policy.model)
    eager.set_attn_implementation("eager")
    for row in range(4):
        prompt, response = responses.ids_of(row)
        with torch.no_grad():
            maps = eager(torch.tensor([prompt + response]), output_attentions=True).attentions
        P, r = len(prompt), len(response)
        expected = maps[0][0, [1, 3]].mean(0)[P - 1 : P + r - 1, P : P + r]
        assert_close(tokens.policy_attention[row, :r, :r], expected, atol=1e-6, rtol=0)
