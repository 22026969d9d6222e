"""How the score becomes token rewards: the reward mode and its options, the score's offset."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from .base import Group
from .template import check_template


class RewardMode(StrEnum):
    """The ways of spreading a response's score over its tokens."""

    ABC = "abc"
    RLHF = "rlhf"
    UNIFORM = "uniform"
    ABC_D = "abc-d"
    ABC_D2 = "abc-d2"
    # Controls: each keeps something of abc and drops the rest.
    SHUFFLED = "shuffled"
    SWAPPED = "swapped"
    POSITION = "position"
    RANDOM = "random"
    # Differences of the reward model's scores of prefixes.
    RED = "red"

    @property
    def in_paper(self) -> bool:
        """True for the five modes of the paper, which a comparison runs unless told otherwise."""
        return self in _IN_PAPER

    @property
    def is_control(self) -> bool:
        """True for those that keep something of abc and drop the rest."""
        return self in _CONTROLS

    @property
    def default_beta(self) -> float | None:
        """Share of the score that is spread when the user names none; None where beta is unused.

        0.8 for the attention modes and 1.0 for uniform are the paper's effective settings. The
        controls and red have abc's, so that they differ from abc in one thing.
        """
        if self is RewardMode.RLHF:
            return None
        return 1.0 if self is RewardMode.UNIFORM else 0.8


_IN_PAPER: Final = frozenset(
    {RewardMode.ABC, RewardMode.RLHF, RewardMode.UNIFORM, RewardMode.ABC_D, RewardMode.ABC_D2}
)
_CONTROLS: Final = frozenset(
    {RewardMode.SHUFFLED, RewardMode.SWAPPED, RewardMode.POSITION, RewardMode.RANDOM}
)


class EvidenceConfig(Group):
    """What the reward modes look at."""

    layer: int = -1
    """Layer whose attention is read, by modes that read any; negative counts from the end."""
    heads: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    """Heads whose attention is averaged, e.g. [0, 3]; null: all."""
    alignment: Literal["attended", "paper"] = "attended"
    """abc-d, abc-d2: credit the token attended to, or (paper) the next one, as the paper's code."""
    reference_responses: Annotated[int, Field(ge=1)] = 1000
    """swapped, position: number of SFT responses whose abc credit is frozen as their source."""


class RewardConfig(EvidenceConfig):
    """The reward mode of one PPO run."""

    mode: Annotated[RewardMode, Field(strict=False)] = RewardMode.ABC
    """abc | rlhf | uniform | abc-d | abc-d2; controls of abc: shuffled | swapped | position |
    random; red: differences of the scores of prefixes."""
    beta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the score that is spread; the rest stays on the last token. null: mode's default."""
    allow_discounting: bool = False
    """Permit ppo.gamma below 1 with a mode that spreads the score (the return then changes)."""
    missing_eos_penalty: Annotated[float, Field(ge=0)] = 0.0
    """Taken off the last token's reward where a response was cut at its cap, after spreading."""

    @model_validator(mode="after")
    def _beta_belongs_to_the_mode(self) -> "RewardConfig":
        if self.mode.default_beta is None and self.beta is not None:
            raise ValueError(
                f"beta must be left out with mode {self.mode} (the whole score stays on the last "
                f"token), received {self.beta}; remove it or choose another mode"
            )
        return self

    @property
    def effective_beta(self) -> float | None:
        """Beta in force: the given one, else the mode's default; None for rlhf."""
        return self.mode.default_beta if self.beta is None else self.beta


class ReadingConfig(Group):
    """What the reward model reads, and which of its labels counts."""

    positive_label: str | int | None = None
    """Label of a reward model with two whose logit counts for the text: its name, 0 or 1. null: the
    one that its id2label tells, e.g. positive of negative and positive."""
    template: Annotated[str, Field(min_length=1)] | None = None
    """What the reward model reads: a text with {prompt} and {response}, all of it plain words, or
    chat (its tokenizer's chat template). null: the response right behind the prompt."""

    @field_validator("positive_label", mode="before")
    @classmethod
    def _positive_label_is_a_name_or_an_index(cls, label: object) -> object:
        # Before pydantic's own check, which would say two things of a union, one for each part.
        is_index = label in (0, 1) and isinstance(label, int) and not isinstance(label, bool)
        if label is None or is_index or (isinstance(label, str) and label):
            return label
        raise ValueError(
            f"must be a label's name, 0 or 1, received {label!r}; see id2label in the reward "
            f"model's config.json"
        )

    @field_validator("template")
    @classmethod
    def _template_has_its_places(cls, template: str | None) -> str | None:
        return check_template(template)


class ScoreConfig(ReadingConfig):
    """What the reward model reads, and what is done to its score before it is spread."""

    center: Literal["sft", "none"] = "sft"
    """sft: subtract, once and for all, the mean score of SFT responses. none: as the paper."""
    center_samples: Annotated[int, Field(ge=1)] = 256
    """Number of SFT responses that set the offset, and the scale where it is theirs."""
    scale: Literal["none", "sft", "running"] = "none"
    """Divide by a standard deviation: of the SFT responses' scores, once and for all, or of all
    scores of the run so far. none: as the paper."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Then clip to between minus and plus this; null: never."""

    @model_validator(mode="after")
    def _samples_have_a_deviation(self) -> "ScoreConfig":
        if self.scale == "sft" and self.center_samples < 2:
            raise ValueError(
                f"center_samples must be at least 2 with scale sft, received {self.center_samples}"
            )
        return self


class KlConfig(Group):
    """What holds the policy near its reference, and near itself within one update."""

    coef: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the penalty in the token rewards (estimator k1, as the paper), reward units per
    nat; the start value when adaptive."""
    controller: Literal["fixed", "adaptive"] = "adaptive"
    """Keep the coefficient, or steer the KL of a response towards the target."""
    target: Annotated[float, Field(gt=0)] = 6.0
    """Adaptive: nats per response to steer towards."""
    horizon: Annotated[int, Field(ge=1)] = 10_000
    """Adaptive: responses over which the coefficient may change by up to 20 %."""
    loss: Literal["none", "k2", "exact"] = "none"
    """A loss term beside the penalty, from the sampled tokens (k2) or the whole vocabulary (exact,
    a forward pass of the reference more). none: as the paper."""
    loss_coef: Annotated[float, Field(gt=0)] = 0.1
    """k2 | exact: weight of the loss term."""
    target_kl: Annotated[float, Field(gt=0)] | None = None
    """No further epoch on a batch once the mean policy/approx_kl of one is above this, nats per
    token; null: always all epochs."""
