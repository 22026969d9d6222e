"""Which texts, and how prompts and responses are cut from them."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .base import Group
from .paths import absolute_if_local

FILE_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
"""Kinds of file that texts are read from, by the end of the name."""

BUILT_IN_SOURCES = ("toy",)
"""Names that need no file and no network."""

SOURCE_KINDS = f"{', '.join(BUILT_IN_SOURCES)}, a file ({', '.join(FILE_SUFFIXES)}) or a Hub id"
"""What `data.source` may be, in words."""

# Endings of files that are not read: what has one is no Hub id either.
_OTHER_FILES = (".json", ".txt", ".tsv", ".gz", ".zip", ".arrow", ".xlsx")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def _source(value: str) -> str:
    """The built-in source, a file as an absolute path, or a Hub id.

    A name that ends like a file is one, whether it exists or not: a missing file must not be looked
    for on the Hub. A built-in source stays one even where a folder of that name lies about.
    """
    if value in BUILT_IN_SOURCES:
        return value
    reference = absolute_if_local(value)
    if reference.endswith(FILE_SUFFIXES):
        return str(Path(reference).absolute())
    local = Path(reference).is_absolute() or Path(reference).suffix in _OTHER_FILES
    if local or not _HUB_ID.fullmatch(reference):
        raise ValueError(f"must be {SOURCE_KINDS}, received {value!r}; choose one with --dataset")
    return reference


def _zero_and_one() -> list[int | str]:
    return [0, 1]


def _two_labels(value: object) -> object:
    spellings = value if isinstance(value, list) else []
    known = [one for one in spellings if isinstance(one, int | str) and not isinstance(one, bool)]
    if len(known) != 2 or len(spellings) != 2 or len(set(map(str, known))) != 2:
        raise ValueError(
            f"must be two different words or whole numbers, the negative one first, received "
            f"{value!r}; quote what YAML takes for something else, e.g. ['False', 'True']"
        )
    return value


class DataConfig(Group):
    """Where the texts come from and how they are divided."""

    source: Annotated[str, Field(min_length=1), AfterValidator(_source)] = "toy"
    """toy (generated reviews), a file (.jsonl[.gz], .csv[.gz], .parquet) or a Hub id."""
    subset: str | None = None
    """Hub id: name of its configuration, where it has several."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Hub id: the split to read; null: train. Held-out texts are taken from it, see below."""
    text_column: Annotated[str, Field(min_length=1)] = "text"
    """Column or field that holds the text."""
    label_column: Annotated[str, Field(min_length=1)] = "label"
    """Column or field that holds the label; read by reward-model training only."""
    labels: Annotated[list[int | str], BeforeValidator(_two_labels)] = Field(
        default_factory=_zero_and_one
    )
    """How the label column spells negative and positive, in this order, e.g. [neg, pos]."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Use at most this many texts (drawn by the seed); null: all."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the texts held out from all training."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw and the division; not the run's seed: all runs share one division."""

    @property
    def built_in(self) -> bool:
        """Whether the source needs no file and no network."""
        return self.source in BUILT_IN_SOURCES

    @property
    def on_hub(self) -> bool:
        """Whether the source is a Hub id."""
        return not self.built_in and not Path(self.source).is_absolute()

    @model_validator(mode="after")
    def _hub_options_belong_to_the_hub(self) -> "DataConfig":
        for key in ("subset", "split"):
            value = getattr(self, key)
            if value is not None and not self.on_hub:
                raise ValueError(
                    f"{key} must be left out unless source is a Hub id, received {value!r} with "
                    f"{self.source}; remove it"
                )
        return self

    @model_validator(mode="after")
    def _built_in_texts_have_no_columns(self) -> "DataConfig":
        for key in ("text_column", "label_column", "labels"):
            value = getattr(self, key)
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if self.built_in and value != default:
                raise ValueError(
                    f"{key} must be left out with source {self.source}, which is generated, "
                    f"received {value!r}; remove it or name a file with --dataset"
                )
        return self


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
