"""Models made from scratch, and supervised training (sft, train-rm)."""

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from .base import Group
from .paths import absolute_if_local


class ModelSize(NamedTuple):
    """Shape of a model made from scratch."""

    layers: int
    hidden_size: int
    heads: int


SIZES = {"tiny": ModelSize(2, 64, 2), "small": ModelSize(4, 256, 4)}
"""Sizes that `model.base` may name."""


def _size_or_reference(value: str) -> str:
    """A size is a size even where a folder of that name lies about."""
    return value if value in SIZES else absolute_if_local(value)


class ModelConfig(Group):
    """The model that SFT starts from."""

    base: Annotated[str, Field(min_length=1), AfterValidator(_size_or_reference)] = "small"
    """tiny | small: from scratch; otherwise a local folder or a Hub id."""
    architecture: str = "gpt2"
    """From scratch: a transformers model type with a causal language model, e.g. gpt2 or llama."""
    context_length: Annotated[int, Field(ge=8)] = 256
    """From scratch: longest sequence, tokens."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """From scratch: size of the byte-level BPE vocabulary trained on the data."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """From scratch: dropout of SFT and reward-model training. PPO always runs without."""


class TrainingConfig(Group):
    """One supervised training run on transformers.Trainer."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the training texts."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many optimizer steps, whatever epochs says."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Texts per optimizer step."""
    max_length: Annotated[int, Field(ge=2)] = 128
    """Longer texts are cut to this many tokens (and then get no EOS)."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Course of the learning rate after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the learning rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    log_interval: Annotated[int, Field(ge=1)] = 20
    """Steps between rows of metrics.jsonl."""


class TruncationConfig(Group):
    """The reward model also sees unfinished texts, of the lengths that PPO will produce."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the training texts that are cut."""
    min_tokens: Annotated[int, Field(ge=1)] = 10
    """Shortest cut text, tokens."""
    max_tokens: Annotated[int, Field(ge=1)] = 22
    """Longest cut text, tokens (inclusive)."""

    @model_validator(mode="after")
    def _range(self) -> "TruncationConfig":
        if self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens must be at least min_tokens ({self.min_tokens}), "
                f"received {self.max_tokens}"
            )
        return self
