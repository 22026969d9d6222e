"""How the networks of a PPO run are built and computed: value function, adapters, precision."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Group


class LoraConfig(Group):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on a frozen policy, without dropout."""

    rank: Annotated[int, Field(ge=1)] = 32
    """Rank of each adapter."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """An adapter's product is added times alpha / rank."""
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Linear layers that get one, by name, e.g. [q_proj, v_proj]; null: all but the output head."""


class NetworksConfig(Group):
    """How the networks are built and computed; the algorithm is the same."""

    value_model: Literal["shared", "separate"] = "shared"
    """shared: a linear head on the policy's trunk, as the paper. separate: a trunk of its own."""
    value_init: Literal["reward_model", "policy"] = "reward_model"
    """separate: start from the reward model, head included, or from the policy with a new head."""
    lora: LoraConfig | None = None
    """Train adapters instead of the policy's weights; null: train the weights. The reference is
    then the policy with its adapters switched off."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: policy, reference and value model compute under autocast, where the device has it.
    Weights, optimizer and the reward model stay float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""

    @model_validator(mode="after")
    def _only_a_separate_value_model_starts_from_the_policy(self) -> "NetworksConfig":
        if self.value_init == "policy" and self.value_model == "shared":
            raise ValueError(
                "value_init must be left out with value_model shared (the value head is on the "
                "policy's trunk), received policy; remove it, or set value_model to separate"
            )
        return self
