"""Models made from scratch, and supervised training (sft, train-rm)."""

import difflib
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from .base import Group
from .paths import (
    ModelReference,
    NamesFiles,
    absolute,
    absolute_if_local,
    read_model_file,
    require_model_folder,
    require_tokenizer_folder,
)


class ModelSize(NamedTuple):
    """Shape of a model made from scratch."""

    layers: int
    hidden_size: int
    heads: int


SIZES = {"tiny": ModelSize(2, 64, 2), "small": ModelSize(4, 256, 4)}
"""Sizes that `model.base` may name."""

_FILE = ".json"
_SHAPE_KEYS = ("n_layer", "n_head", "n_embd")


def _base(value: str) -> str:
    """A size is a size even where a folder of that name lies about; a file is always local."""
    if value in SIZES:
        return value
    reference = absolute(value) if value.endswith(_FILE) else absolute_if_local(value)
    close = difflib.get_close_matches(reference.lower(), SIZES, n=1, cutoff=0.75)
    if close:  # and no Hub id: only the oldest, like gpt2, have no slash
        raise ValueError(
            f"must be a size ({', '.join(SIZES)}), a config.json, a model folder or a Hub id, "
            f"received {value!r}; did you mean {close[0]}?"
        )
    return reference


class ModelConfig(Group):
    """The model that SFT starts from."""

    base: Annotated[str, Field(min_length=1), AfterValidator(_base), NamesFiles()] = "small"
    """tiny | small | a transformers config.json: from scratch; else a local folder or a Hub id."""
    architecture: str = "gpt2"
    """tiny | small: a transformers model type with a causal language model, e.g. gpt2 or llama."""
    n_layer: Annotated[int, Field(ge=1)] | None = None
    """tiny | small: number of layers; null: that of the size."""
    n_head: Annotated[int, Field(ge=1)] | None = None
    """tiny | small: attention heads per layer; null: that of the size."""
    n_embd: Annotated[int, Field(ge=2)] | None = None
    """tiny | small: width of the hidden states, a multiple of n_head; null: that of the size."""
    context_length: Annotated[int, Field(ge=8)] = 256
    """tiny | small: longest sequence, tokens."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """From scratch, tokenizer null: size of the byte-level BPE vocabulary trained on the data."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """tiny | small: dropout of SFT and reward-model training. PPO always runs without."""
    tokenizer: ModelReference | None = None
    """From scratch: local folder or Hub id of a tokenizer; null: one is trained on the data."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """From scratch: further keys of the transformers config, e.g. {num_key_value_heads: 2}."""

    @property
    def from_scratch(self) -> bool:
        """Whether the weights are random: a named size, or a transformers configuration file."""
        return self.base in SIZES or self.base.endswith(_FILE)

    @property
    def shape(self) -> ModelSize | None:
        """The named size with its overrides; None where a file or a trained model decides."""
        if self.base not in SIZES:
            return None
        size = SIZES[self.base]
        return ModelSize(
            layers=self.n_layer or size.layers,
            hidden_size=self.n_embd or size.hidden_size,
            heads=self.n_head or size.heads,
        )

    @property
    def references(self) -> dict[str, str]:
        """What is loaded, from a local folder or the Hub, by the key that names it."""
        named = {"base": None if self.from_scratch else self.base, "tokenizer": self.tokenizer}
        return {key: reference for key, reference in named.items() if reference is not None}

    def require_files(self, section: str) -> None:
        """Refuses a local model, configuration file or tokenizer that is not there.

        Args:
            section: Key of this group, e.g. `model`.

        Raises:
            InputError: Names the key and what was expected there.
        """
        if not self.from_scratch:
            require_model_folder(self.base, f"{section}.base")
        elif self.shape is None:
            read_model_file(self.base, f"{section}.base")
        if self.tokenizer is not None:
            require_tokenizer_folder(self.tokenizer, f"{section}.tokenizer")

    @model_validator(mode="after")
    def _nothing_given_is_ignored(self) -> Self:
        if not self.from_scratch:
            self._refuse_given(
                tuple(key for key in type(self).model_fields if key != "base"),
                "must be left out where base is a trained model, which brings its own",
                "remove it (a whole section is set like model={base: ...}), or choose base tiny, "
                "small or a config.json",
            )
        elif self.shape is None:
            self._refuse_given(
                ("architecture", *_SHAPE_KEYS, "context_length", "dropout"),
                "must be left out where base is a configuration file, which says it",
                "remove it, and change the file or set its own key in options",
            )
        if self.tokenizer is not None:
            self._refuse_given(
                ("vocab_size",),
                "must be left out with a tokenizer that is loaded, which has its vocabulary",
                "remove one of them",
            )
        return self

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        shape = self.shape
        if shape is not None and shape.hidden_size % shape.heads:
            raise ValueError(
                f"n_embd must be divisible by n_head ({shape.heads}), received "
                f"{shape.hidden_size}; set both"
            )
        return self

    def _refuse_given(self, keys: tuple[str, ...], rule: str, advice: str) -> None:
        """Refuses the first key that is not at its default, which a saved configuration holds."""
        fields = type(self).model_fields
        for key in keys:
            value = getattr(self, key)
            if value != fields[key].get_default(call_default_factory=True):
                raise ValueError(f"{key} {rule}, received {value!r}; {advice}")


class TrainingConfig(Group):
    """One supervised training run on transformers.Trainer."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the training texts."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many optimizer steps, whatever epochs says."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Texts per optimizer step."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Texts per forward and backward pass, must divide batch_size; null: all of them. A matter of
    memory alone: without dropout the step is the same, up to rounding."""
    max_length: Annotated[int, Field(ge=2)] = 128
    """Longer plain texts are cut to this many tokens, and then get no EOS; responses and pairs that
    do not fit behind their prompt are left out."""
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

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size must divide batch_size ({self.batch_size}), received "
                f"{self.micro_batch_size}"
            )
        return self


class HeldOutLossConfig(Group):
    """When the loss on held-out texts is measured during training, and whether it ends a run."""

    interval: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between evaluations; null: at the end only."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop when the loss has not fallen for this many evaluations in a row, and keep the best
    model; null: never. Needs interval."""

    @model_validator(mode="after")
    def _stopping_early_needs_evaluations(self) -> Self:
        if self.early_stopping is not None and self.interval is None:
            raise ValueError(
                f"early_stopping must come with interval, received {self.early_stopping} without; "
                f"set interval"
            )
        return self


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
