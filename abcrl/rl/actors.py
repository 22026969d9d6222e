"""The networks of a PPO run: loaded, checked against each other, made ready."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import InputError, PpoConfig, stream_seed
from abcrl.models import (
    PolicyWithValueHead,
    bos_prefix,
    context_length,
    disable_dropout,
    load_causal_lm,
    punctuation_ids,
)

from .scoring import Scorer, load_scorer


@dataclass(frozen=True)
class Actors:
    """The networks of a run.

    Attributes:
        policy: The model being trained, with its value head; in eval mode.
        ref_policy: The frozen SFT model.
        scorer: The frozen reward model.
        eos_token_id: The token that ends a response.
        punctuation_ids: Ids of the policy's vocabulary that stand for punctuation alone.
    """

    policy: PolicyWithValueHead
    ref_policy: PreTrainedModel
    scorer: Scorer
    eos_token_id: int
    punctuation_ids: Int[Tensor, " ids"] = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.long)
    )


def load_actors(config: PpoConfig, device: torch.device) -> tuple[Actors, PreTrainedTokenizerBase]:
    """Returns policy, reference and reward model on the device, in eval mode, without dropout.

    Raises:
        InputError: One of them cannot be loaded, or they do not fit together.
    """
    model, tokenizer = load_causal_lm(config.policy, "policy")
    reference, _ = load_causal_lm(config.policy, "policy")
    scorer = load_scorer(config.reward_model, tokenizer, config.reward, config.score)
    readers = {"policy": model}
    if scorer.read is None:
        readers["reward_model"] = scorer.reward_model.model
    for key, reader in readers.items():
        _require_context(config, reader, key, len(bos_prefix(tokenizer)))
    seed = stream_seed(config.run.seed, "value-head")
    policy = PolicyWithValueHead(model, seed=seed).to(device).eval()
    for network in (policy, reference):
        disable_dropout(network)
    nn.Module.to(reference, device).eval().requires_grad_(False)
    scorer.reward_model.to(device)
    punctuation = torch.tensor(punctuation_ids(tokenizer), dtype=torch.long, device=device)
    return Actors(policy, reference, scorer, tokenizer.eos_token_id, punctuation), tokenizer


def _require_context(config: PpoConfig, model: nn.Module, key: str, prefix: int) -> None:
    longest = prefix + config.prompt.max_tokens + config.response.cap_high
    context = context_length(model)
    if context is not None and longest > context:
        raise InputError(
            f"response.cap_high: prompt and response must fit the context of {key}, {context} "
            f"tokens, received {longest} in all; lower response.cap_high"
        )
