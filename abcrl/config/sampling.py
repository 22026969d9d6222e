"""Which prompts a policy answers, and how its responses are sampled."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Group


class PromptConfig(Group):
    """A prompt is what the source gives as one; of plain texts, the beginning."""

    min_tokens: Annotated[int, Field(ge=1)] = 2
    """Plain texts: shortest prompt, tokens."""
    max_tokens: Annotated[int, Field(ge=1)] = 7
    """Longest prompt, tokens (inclusive). Of plain texts each prompt's length is drawn from the
    range; given prompts that are longer, with their template, are left out."""
    min_characters: Annotated[int, Field(ge=0)] = 200
    """Plain texts: those of this many characters or fewer give no prompt."""

    @model_validator(mode="after")
    def _range(self) -> "PromptConfig":
        if self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens must be at least min_tokens ({self.min_tokens}), "
                f"received {self.max_tokens}"
            )
        return self


_SAMPLED_ALONE = (
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
)


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
    cache: Literal["dynamic", "static"] = "dynamic"
    """Keys and values while sampling: growing, or taken at once for the longest response."""
    compile: bool = False
    """Compile the decoding step with torch.compile; needs a static cache. Worth its minute on a GPU
    and in long runs alone."""

    @model_validator(mode="before")
    @classmethod
    def _what_is_sampled_from_is_what_is_scored(cls, values: object) -> object:
        for key in _SAMPLED_ALONE:
            if isinstance(values, dict) and key in values:
                raise ValueError(
                    f"{key} must be left out (PPO needs the log-probabilities of the distribution "
                    f"that it samples from), received {values[key]!r}; remove it, or set "
                    f"temperature, which is in both"
                )
        return values

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
        if self.compile and self.cache != "static":
            raise ValueError(f"cache must be static with compile, received {self.cache}")
        return self
