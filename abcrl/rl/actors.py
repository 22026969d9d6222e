"""The networks of a PPO run: loaded, checked against each other, made ready."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.config import InputError, PpoConfig, stream_seed
from abcrl.models import (
    PolicyWithValueHead,
    ValueModel,
    adapters_off,
    add_adapters,
    bos_prefix,
    compute_gelu_in_place,
    compute_in_bf16,
    context_length,
    disable_dropout,
    load_causal_lm,
    punctuation_ids,
    recompute_activations,
    require_bf16,
)

from .scoring.loading import load_scorer
from .scoring.scorer import Scorer


@dataclass(frozen=True)
class Actors:
    """The networks of a run.

    Attributes:
        policy: The model being trained, with its value head; in eval mode.
        ref_policy: The frozen SFT model; None: the policy with its adapters switched off.
        scorer: The frozen reward model.
        eos_token_id: The token that ends a response.
        punctuation_ids: Ids of the policy's vocabulary that stand for punctuation alone.
    """

    policy: PolicyWithValueHead
    ref_policy: PreTrainedModel | None
    scorer: Scorer
    eos_token_id: int
    punctuation_ids: Int[Tensor, " ids"] = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.long)
    )

    @contextmanager
    def reference(self) -> Iterator[PreTrainedModel]:
        """Yields the reference, for passes without gradient."""
        if self.ref_policy is not None:
            yield self.ref_policy
        else:
            with adapters_off(self.policy.model):
                yield self.policy.model


def load_actors(config: PpoConfig, device: torch.device) -> tuple[Actors, PreTrainedTokenizerBase]:
    """Returns policy, reference and reward model on the device, in eval mode, without dropout.

    Raises:
        InputError: One of them cannot be loaded, or they do not fit together or to the device.
    """
    if config.networks.precision == "bf16":
        require_bf16(device, "networks.precision")
    model, tokenizer = load_causal_lm(config.policy, "policy")
    reference = None
    if config.networks.lora is None:
        reference, _ = load_causal_lm(config.policy, "policy")
    scorer = load_scorer(
        config.reward_model,
        tokenizer,
        config.reward,
        config.score,
        policy_template=config.data.template,
    )
    readers = {"policy": model}
    if scorer.read is None:
        readers["reward_model"] = scorer.reward_model.model
    longest = len(bos_prefix(tokenizer)) + config.prompt.max_tokens + config.response.cap_high
    for key, reader in readers.items():
        require_context(reader, key, longest)
    policy = build_policy(config, model, scorer).to(device).eval()
    if reference is not None:
        nn.Module.to(freeze(reference, config.networks.precision), device)
    scorer.reward_model.to(device)
    punctuation = torch.tensor(punctuation_ids(tokenizer), dtype=torch.long, device=device)
    return Actors(policy, reference, scorer, tokenizer.eos_token_id, punctuation), tokenizer


def build_policy(config: PpoConfig, model: PreTrainedModel, scorer: Scorer) -> PolicyWithValueHead:
    """Returns the policy with its value function, as `config.networks` asks for it, no dropout.

    Args:
        config: The run's configuration.
        model: The SFT model; it becomes part of the policy.
        scorer: The reward model, which a separate value model may start from.

    Raises:
        InputError: Adapters or value model cannot be had of these models.
    """
    networks, seed = config.networks, config.run.seed
    value = _value_model(config, model, scorer) if networks.value_model == "separate" else None
    if networks.lora is not None:
        add_adapters(model, networks.lora, seed=stream_seed(seed, "lora"))
    policy = PolicyWithValueHead(model, seed=stream_seed(seed, "value-head"), value=value)
    disable_dropout(policy)
    compute_gelu_in_place(policy)
    for trunk in (policy.model, policy.value_trunk):
        if trunk is None:
            continue
        if networks.gradient_checkpointing:
            recompute_activations(trunk)
        if networks.precision == "bf16":
            compute_in_bf16(trunk)
    return policy


def freeze(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """Returns a language model that is not trained, ready to be asked: in eval mode, no dropout.

    Args:
        model: It is changed in place.
        precision: float32 | bf16, see `NetworksConfig`.
    """
    disable_dropout(model)
    compute_gelu_in_place(model)
    if precision == "bf16":
        compute_in_bf16(model)
    nn.Module.eval(model).requires_grad_(False)
    return model


def _value_model(config: PpoConfig, model: PreTrainedModel, scorer: Scorer) -> ValueModel:
    if config.networks.value_init == "policy":
        return ValueModel.from_policy(model)
    if scorer.read is not None:
        raise InputError(
            "networks.value_init: must be policy where the reward model has another tokenizer or a "
            "template, because a value model reads the policy's own tokens, received reward_model; "
            "choose policy"
        )
    unreadable = scorer.unreadable
    return ValueModel.from_reward_model(
        scorer.reward_model,
        config.score.positive_label,
        read=None if unreadable is None else unreadable.replaced_in,
    )


def require_context(model: nn.Module, key: str, longest: int) -> None:
    """Refuses a model that cannot read the longest prompt with the longest response.

    Args:
        model: One that reads the policy's tokens.
        key: Configuration key to name.
        longest: Tokens of both together.

    Raises:
        InputError: Its context is shorter.
    """
    context = context_length(model)
    if context is not None and longest > context:
        raise InputError(
            f"response.cap_high: prompt and response must fit the context of {key}, {context} "
            f"tokens, received {longest} in all; lower response.cap_high"
        )
