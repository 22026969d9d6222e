"""The networks of a PPO run: loaded, checked against each other, made ready."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import InputError, PpoConfig, stream_seed
from abcrl.densification import needs
from abcrl.models import (
    PolicyWithValueHead,
    RewardModel,
    bos_prefix,
    capture_attention,
    disable_dropout,
    embedding_rows,
    load_causal_lm,
    load_classifier,
    shares_ids,
)


@dataclass(frozen=True)
class Actors:
    """The networks of a run.

    Attributes:
        policy: The model being trained, with its value head; in eval mode.
        ref_policy: The frozen SFT model.
        reward_model: The frozen reward model.
        eos_token_id: The token that ends a response.
    """

    policy: PolicyWithValueHead
    ref_policy: PreTrainedModel
    reward_model: RewardModel
    eos_token_id: int


def load_actors(config: PpoConfig, device: torch.device) -> tuple[Actors, PreTrainedTokenizerBase]:
    """Returns policy, reference and reward model on the device, in eval mode, without dropout.

    Raises:
        InputError: One of them cannot be loaded, or they do not fit together.
    """
    model, tokenizer = load_causal_lm(config.policy, "policy")
    reference, _ = load_causal_lm(config.policy, "policy")
    classifier, reward_tokenizer = load_classifier(config.reward_model, "reward_model")
    if not shares_ids(tokenizer, reward_tokenizer):
        raise InputError(
            f"reward_model: must have the policy's tokenizer, received {config.reward_model} with "
            f"another one; train it from the same SFT model"
        )
    if embedding_rows(classifier) < embedding_rows(model):
        raise InputError(
            f"reward_model: must read every id that the policy can write, received "
            f"{embedding_rows(classifier)} embeddings against {embedding_rows(model)}; train it "
            f"from the same SFT model"
        )
    longest = len(bos_prefix(tokenizer)) + config.prompt.max_tokens + config.response.cap_high
    for key, loaded in (("policy", model), ("reward_model", classifier)):
        context = getattr(loaded.config, "max_position_embeddings", None)
        if context is not None and longest > context:
            raise InputError(
                f"response.cap_high: prompt and response must fit the context of {key}, {context} "
                f"tokens, received {longest} in all; lower response.cap_high"
            )
    seed = stream_seed(config.run.seed, "value-head")
    policy = PolicyWithValueHead(model, seed=seed).to(device).eval()
    for network in (policy, reference, classifier):
        disable_dropout(network)
    for network in (reference, classifier):
        nn.Module.to(network, device).eval().requires_grad_(False)
    return Actors(policy, reference, RewardModel(classifier), tokenizer.eos_token_id), tokenizer


def require_evidence(config: PpoConfig, actors: Actors) -> None:
    """Refuses a mode whose attention cannot be captured, by asking for it once.

    Raises:
        CaptureError: The architecture does not let its attention be captured.
    """
    wanted = needs(config.reward.mode)
    ids = torch.full((1, 2), actors.eos_token_id, device=actors.policy.model.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    if "reward_attention" in wanted:
        actors.reward_model.score(ids, mask, with_attention=True)
    if "policy_attention" in wanted:
        with torch.no_grad(), capture_attention(actors.policy.model, mask.long()):
            actors.policy(ids, mask, 1)
