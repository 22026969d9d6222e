"""How networks are built and computed: value function, adapters, precision."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Group


class LoraConfig(Group):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on a frozen model, without dropout."""

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


class AdaptationConfig(Group):
    """How the model of a supervised run is trained and computed; what it learns is the same."""

    lora: LoraConfig | None = None
    """Train adapters (of a reward model: and its head) instead of all weights; null: all weights.
    The saved model has them merged."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: compute under autocast in training, where the device has it. Weights and optimizer stay
    float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    quantization: Literal["none", "nf4"] = "none"
    """nf4: keep the frozen weights in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314); with
    lora, on a CUDA GPU, with the package bitsandbytes. Adapters are merged into the unquantised
    weights."""
    keep_adapter: bool = False
    """Also write the adapters, unmerged, to adapter/ in PEFT's format; with lora."""

    @model_validator(mode="after")
    def _adapters_are_there(self) -> Self:
        if self.lora is None:
            for key, value in (
                ("quantization", self.quantization if self.quantization != "none" else None),
                ("keep_adapter", self.keep_adapter or None),
            ):
                if value is not None:
                    raise ValueError(
                        f"{key} must be left out without adapters, received {value}; remove it, or "
                        f"set networks.lora"
                    )
        return self
