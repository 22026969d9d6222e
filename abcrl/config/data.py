"""Which texts, and how prompts and responses are cut from them."""

from typing import Annotated

from pydantic import Field, model_validator

from .base import Group


class DataConfig(Group):
    """Where the texts come from and how they are divided."""

    source: str = "toy"
    """toy: the built-in reviews, generated on the spot."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Use at most this many texts (drawn by the seed); null: all."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the texts held out from all training."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw and the division; not the run's seed: all runs share one division."""


class PromptConfig(Group):
    """A prompt is the beginning of a text."""

    min_tokens: Annotated[int, Field(ge=1)] = 2
    """Shortest prompt, tokens."""
    max_tokens: Annotated[int, Field(ge=1)] = 7
    """Longest prompt, tokens (inclusive); each prompt's length is drawn from the range."""
    min_characters: Annotated[int, Field(ge=0)] = 200
    """Texts of this many characters or fewer give no prompt."""

    @model_validator(mode="after")
    def _range(self) -> "PromptConfig":
        if self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens must be at least min_tokens ({self.min_tokens}), "
                f"received {self.max_tokens}"
            )
        return self


class ResponseConfig(Group):
    """How responses are sampled; top-k, top-p and repetition penalties do not exist in PPO."""

    min_new_tokens: Annotated[int, Field(ge=0)] = 8
    """No EOS before this many tokens, in sampling and in every log-probability alike."""
    cap_low: Annotated[int, Field(ge=1)] = 8
    """Each response's length cap is drawn from cap_low..cap_high, both included, tokens."""
    cap_high: Annotated[int, Field(ge=1)] = 15
    """Upper end of the range of caps, tokens."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits in sampling, log-probabilities, entropy and KL alike."""

    @model_validator(mode="after")
    def _range(self) -> "ResponseConfig":
        if self.cap_high < self.cap_low:
            raise ValueError(
                f"cap_high must be at least cap_low ({self.cap_low}), received {self.cap_high}"
            )
        if self.cap_low < self.min_new_tokens:
            raise ValueError(
                f"cap_low must be at least min_new_tokens ({self.min_new_tokens}), "
                f"received {self.cap_low}"
            )
        return self
