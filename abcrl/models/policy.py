"""The policy: a causal language model and a value function, on its trunk or one of its own."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapters import merged_weights
from .positions import position_ids
from .reward.head import head_of
from .reward.model import RewardModel


class PolicyOutput(NamedTuple):
    """What one forward pass gives at the response positions.

    `logits[:, k]` and `values[:, k]` stand at the position before response token `k`: the
    distribution it was chosen from, and the value before it was seen.
    """

    logits: Float[Tensor, "B R V"]
    values: Float[Tensor, "B R"]


class PolicyWithValueHead(nn.Module):
    """A causal language model, and a value head on the last hidden state of a trunk.

    Attributes:
        model: The language model; what is saved and sampled from.
        value_head: Hidden state to value; Linear(hidden size, 1) unless a value trunk came with
            another.
        value_trunk: The trunk that the value head reads; None: the language model's own.
        value_offset: Subtracted from what the value head says: its zero, in rewards.
        value_scale: What it is divided by then: its unit, in rewards.
    """

    def __init__(
        self, model: PreTrainedModel, *, seed: int, value: "ValueModel | None" = None
    ) -> None:
        """Adds a value head, initialised from its own seed and not from the global generator.

        Args:
            model: The language model.
            seed: Decides the value head, unless `value` brings one.
            value: A separate value model; None: the value head is on the language model's trunk.
        """
        super().__init__()
        self.model = model
        self.value_trunk = None if value is None else value.trunk
        self._value_ids = None if value is None else value.read
        self.value_offset, self.value_scale = 0.0, 1.0
        if value is None or value.head is None:
            width = model.get_output_embeddings().weight.shape[1]
            self.value_head: nn.Module = _new_head(width, seed).to(model.device)
        else:
            self.value_head = value.head

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        response_width: int,
    ) -> PolicyOutput:
        """Returns logits and values for the last `response_width` tokens of each sequence."""
        logits, hidden = response_logits(self.model, input_ids, attention_mask, response_width)
        if self.value_trunk is not None:
            ids = input_ids if self._value_ids is None else self._value_ids(input_ids)
            states: Tensor = self.value_trunk(
                input_ids=ids,
                attention_mask=attention_mask.long(),
                position_ids=position_ids(attention_mask),
                use_cache=False,
            ).last_hidden_state
            hidden = states[:, -response_width - 1 : -1]
        values = self.value_head(hidden.to(next(self.value_head.parameters()).dtype)).squeeze(-1)
        return PolicyOutput(logits, (values.float() - self.value_offset) / self.value_scale)


class ValueModel(NamedTuple):
    """What a separate value function starts as."""

    trunk: PreTrainedModel
    head: nn.Module | None
    """None: a new one."""
    read: Callable[[Tensor], Tensor] | None = None
    """Ids of the policy to ids that the trunk has embeddings of; None: they are the same."""

    @classmethod
    def from_policy(cls, model: PreTrainedModel) -> "ValueModel":
        """Returns a copy of the policy's trunk, to which a new head belongs."""
        trunk: Any = copy.deepcopy(model.base_model)
        return cls(trunk.requires_grad_(True), None)

    @classmethod
    def from_reward_model(
        cls,
        reward_model: RewardModel,
        positive_label: str | int | None,
        *,
        read: Callable[[Tensor], Tensor] | None = None,
    ) -> "ValueModel":
        """Returns a copy of trunk and head: the value of a prefix is its score at first.

        As Huang et al. 2024 (arXiv 2403.17031) initialise theirs. Of two labels, or of a score with
        an offset, one linear layer holds all of it. Where scores are then shifted and scaled
        before PPO sees them, `PolicyWithValueHead.value_offset` and `value_scale` do it to values.

        Args:
            reward_model: The reward model; it stays as it is.
            positive_label: Which of two labels is the good one; None: the names say so.
            read: See `ValueModel.read`.
        """
        network = reward_model.model
        head: Any = head_of(network, positive_label).as_one_layer()
        trunk = copy.deepcopy(network.base_model)
        if hasattr(trunk, "v_head"):  # the backbone of that kind is its own base model
            del trunk.v_head
        return cls(trunk.requires_grad_(True), head.requires_grad_(True), read)


def save_policy(policy: PolicyWithValueHead, folder: Path) -> None:
    """Saves the language model as from_pretrained reads it, adapters merged; its value beside it.

    `value_head.safetensors` is the head, without `value_offset` and `value_scale`;
    `value_trunk.safetensors` its trunk, where it has one.
    """
    policy.model.save_pretrained(folder, state_dict=merged_weights(policy.model))
    save_model(policy.value_head, str(folder / "value_head.safetensors"))
    if policy.value_trunk is not None:
        save_model(policy.value_trunk, str(folder / "value_trunk.safetensors"))


def response_logits(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"],
    response_width: int,
) -> tuple[Float[Tensor, "B R V"], Float[Tensor, "B R d"]]:
    """Returns the logits that response tokens were chosen from, and the hidden states behind them.

    The head runs at response positions only, by the model's own code, so whatever an architecture
    does to its logits is kept, and no [B, T, V] tensor exists.

    Args:
        model: Causal language model.
        input_ids: Left-padded prompts, then right-padded responses of `response_width`.
        attention_mask: True where a token is real.
        response_width: R, columns of the response window.
    """
    T = input_ids.shape[1]
    kept = torch.arange(T - response_width - 1, T - 1, device=input_ids.device)
    seen: list[Tensor] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        output = model(
            input_ids=input_ids,
            attention_mask=attention_mask.long(),
            position_ids=position_ids(attention_mask),
            use_cache=False,
            logits_to_keep=kept,
        )
    finally:
        hook.remove()
    return output.logits, seen[-1]


def _new_head(width: int, seed: int) -> nn.Linear:
    # On meta first: nn.Linear would draw its weights from the global generator.
    head = nn.Linear(width, 1, device="meta").to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        bound = width**-0.5  # nn.Linear's own default, as the paper's value head
        for parameter in head.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
    return head
