"""Three ways of running the same batch through the same random weights.

- plain: the model's fast attention, as PPO runs it when no mode needs attention;
- credit: the same, and the rows that credit needs are captured (`abcrl.models.capture_attention`);
- eager: eager attention with `output_attentions=True`, as the paper's code has it: every layer's
  [B, H, T, T] is kept, and the same rows are taken out of the last one at the end.
"""

import argparse
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from abcrl.models import (
    RewardModel,
    capture_attention,
    last_positions,
    position_ids,
    response_logits,
)

WAYS: Final = ("plain", "credit", "eager")
VOCABULARY: Final = 1024

Pass = Callable[[], Tensor | None]
"""Runs a batch; the rows of attention that credit needs, or None."""


def build(kind: Any, architecture: str, settings: argparse.Namespace, attention: str) -> Any:  # noqa: ANN401 - an Auto class and what it builds
    """Return a model with random weights, the same for every kind of attention."""
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "max_position_embeddings": max(settings.lengths),
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "id2label": {0: "negative", 1: "positive"},
        "label2id": {"negative": 0, "positive": 1},
    }
    if architecture == "llama":  # GPT-2's own default is four times the width
        shape["intermediate_size"] = settings.width * 8 // 3
        shape["num_key_value_heads"] = max(settings.heads // 2, 1)
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **shape)
    model = kind.from_config(config, attn_implementation=attention)
    return model.to(settings.device, getattr(torch, settings.dtype)).eval()


def ragged(batch: int, width: int, settings: argparse.Namespace) -> Tensor:
    """Return how many tokens each row has, from `width` down to half of it, [B]."""
    shortest = width if settings.unpadded else width // 2
    return torch.linspace(width, shortest, batch).long()


def random_ids(mask: Tensor) -> Tensor:
    """Return token ids for a batch, [B, T]."""
    ids = torch.randint(2, VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(0))
    return ids.to(mask.device)


def eager_maps(model: Any, ids: Tensor, mask: Tensor, **options: object) -> Any:  # noqa: ANN401 - transformers' outputs
    """Return the output of a model on eager attention, with the maps of all its layers."""
    return model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=position_ids(mask),
        use_cache=False,
        output_attentions=True,
        **options,
    )


def scoring_passes(
    architecture: str, length: int, batch: int, settings: argparse.Namespace
) -> dict[str, Pass]:
    """Return the ways of scoring right-padded sequences; [B, T] of the scored position."""
    kind = AutoModelForSequenceClassification
    reward_model = RewardModel(build(kind, architecture, settings, "sdpa"))
    classifier = build(kind, architecture, settings, "eager")
    mask = torch.arange(length) < ragged(batch, length, settings)[:, None]
    mask = mask.to(settings.device)
    ids, scored = random_ids(mask), last_positions(mask)
    rows = torch.arange(batch, device=mask.device)

    def eager() -> Tensor:
        output = eager_maps(classifier.base_model, ids, mask)
        classifier.score(output.last_hidden_state[rows, scored])
        attention: Tensor = output.attentions[-1].float().mean(1)[rows, scored]
        return attention

    return {
        "plain": lambda: reward_model.score(ids, mask, with_attention=False).attention,
        "credit": lambda: reward_model.score(ids, mask, with_attention=True).attention,
        "eager": eager,
    }


def policy_passes(
    architecture: str, length: int, batch: int, settings: argparse.Namespace
) -> dict[str, Pass]:
    """Return the ways of evaluating responses, each half of its sequence; [B, R, R]."""
    policy = build(AutoModelForCausalLM, architecture, settings, "sdpa")
    slow = build(AutoModelForCausalLM, architecture, settings, "eager")
    P = length // 2
    R = length - P
    prompts = torch.arange(P) >= P - ragged(batch, P, settings)[:, None]
    responses = torch.arange(R) < ragged(batch, R, settings).flip(0)[:, None]
    mask = torch.cat([prompts, responses], dim=1).to(settings.device)
    written = mask[:, P:, None]
    ids = random_ids(mask)
    chosen_from = torch.arange(P - 1, length - 1, device=mask.device)
    window = slice(P, length)

    def plain() -> None:
        response_logits(policy, ids, mask, R)

    def credit() -> Tensor:
        rows = chosen_from.expand(batch, -1)
        with capture_attention(policy, rows, columns=window) as capture:
            response_logits(policy, ids, mask, R)
        return capture.result() * written

    def eager() -> Tensor:
        maps = eager_maps(slow, ids, mask, logits_to_keep=chosen_from).attentions[-1]
        attention = maps.float().mean(1)[:, P - 1 : length - 1, window]
        return attention * written

    return {"plain": plain, "credit": credit, "eager": eager}


NETWORKS: Final = {"reward-model": scoring_passes, "policy": policy_passes}
