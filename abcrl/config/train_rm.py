"""`abcrl train-rm`: the command's root model."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .base import Group
from .checkpoint import TrainingCheckpointConfig
from .data import DataConfig
from .networks import AdaptationConfig
from .paths import ModelReference
from .run import RunConfig
from .sampling import PromptConfig, ResponseConfig
from .template import check_template
from .training import HeldOutLossConfig, TrainingConfig, TruncationConfig


class PairObjectiveConfig(Group):
    """bradley-terry: -log sigmoid(chosen - rejected - margin), and what keeps scores near 0."""

    margin: Annotated[float, Field(ge=0)] = 0.0
    """Score by which chosen must lead rejected (Touvron et al. 2023); data.columns.margin names a
    column with one for each pair instead."""
    center_coef: Annotated[float, Field(ge=0)] = 0.0
    """Weight of (chosen + rejected)^2 in the loss (Eisenstein et al. 2023); TRL's documentation
    suggests 0.01. 0: scores are free to drift together."""


class HeadConfig(Group):
    """What turns the last hidden state into a score: how it starts, its zero, how it is saved."""

    init_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of its first weights; null: 1 / sqrt(d + 1) for d hidden units, as
    Stiennon et al. 2020."""
    offset: Literal["none", "sft", "chosen"] = "none"
    """After training, subtract the mean score of the SFT model's responses (sft), or of chosen or
    positive responses to train on (chosen; Stiennon et al. set that of the references to 0)."""
    offset_samples: Annotated[int, Field(ge=1)] = 256
    """sft | chosen: number of those responses."""
    format: Literal["sequence-classifier", "v-head"] = "sequence-classifier"
    """What final/ is: transformers' own class, or a language model with a v_head, as TRL saves."""


class RewardModelSettings(Group):
    """Everything about a reward model but the model it starts from and the folder it writes to."""

    objective: Literal["classifier", "bradley-terry"] = "classifier"
    """classifier: two labels, score = logit(positive) - logit(negative). bradley-terry: pairs of
    chosen and rejected, one output, the score."""
    data: DataConfig = DataConfig()
    template: Annotated[
        Annotated[str, Field(min_length=1)] | None, AfterValidator(check_template)
    ] = None
    """What the reward model reads: a text with {prompt} and {response}, all of it plain words, or
    chat (its tokenizer's chat template). null: what the policy reads, see data.template."""
    training: TrainingConfig = TrainingConfig()
    evaluation: HeldOutLossConfig = HeldOutLossConfig()
    networks: AdaptationConfig = AdaptationConfig()
    checkpoint: TrainingCheckpointConfig = TrainingCheckpointConfig()
    truncation: TruncationConfig | None = None
    """Texts, or both sides of a pair, that are cut to lengths that PPO will produce; of a pair that
    is cut, both sides to the same number of response tokens, and never the prompt. Left out: its
    defaults with objective classifier, null (no pair is cut) with bradley-terry."""
    pairs: PairObjectiveConfig = PairObjectiveConfig()
    head: HeadConfig = HeadConfig()
    prompt: PromptConfig = PromptConfig()
    """head.offset sft: prompts of the responses that set the offset."""
    response: ResponseConfig = ResponseConfig()
    """head.offset sft: how those responses are sampled."""
    credit_texts: Annotated[int, Field(ge=0)] = 64
    """Held-out texts, or chosen responses, over which the spread of credit is reported; 0: none."""

    @model_validator(mode="before")
    @classmethod
    def _a_classifier_sees_cut_texts(cls, values: Any) -> Any:  # noqa: ANN401 - not yet validated
        if isinstance(values, dict) and values.get("objective", "classifier") == "classifier":
            return {"truncation": {}, **values}
        return values

    @model_validator(mode="after")
    def _a_classifier_is_judged_on_cut_texts(self) -> Self:
        if self.objective == "classifier" and self.truncation is None:
            raise ValueError(
                "truncation must be given with objective classifier, which is judged on cut texts "
                "too, received null; remove it, or set truncation.share to 0 to train on none"
            )
        return self

    @model_validator(mode="after")
    def _nothing_given_is_ignored(self) -> Self:
        if self.objective == "classifier":
            self._refuse_given("pairs", "with objective classifier, which compares no responses")
        if self.head.offset == "none":
            self._refuse_given("head.offset_samples", "with head.offset none")
        if self.head.offset != "sft":
            for key in ("prompt", "response"):
                self._refuse_given(key, f"unless head.offset is sft ({self.head.offset} here)")
        return self

    @model_validator(mode="after")
    def _columns_belong_to_the_objective(self) -> Self:
        margin = self.data.columns.margin
        if self.objective == "classifier":
            self._refuse_given(
                "data.columns.margin", "with objective classifier, which compares no responses"
            )
        else:
            for key in ("data.labels", "data.columns.label"):
                self._refuse_given(key, "with objective bradley-terry, which reads no labels")
        if margin is not None and self.pairs.margin:
            raise ValueError(
                f"pairs.margin must be left out with data.columns.margin ({margin}), which gives "
                f"each pair its own, received {self.pairs.margin}; remove one of them"
            )
        return self

    def _refuse_given(self, key: str, when: str) -> None:
        """Refuses a key that is not at its default, which a saved configuration holds."""
        *groups, name = key.split(".")
        owner: Group = self
        for group in groups:
            owner = getattr(owner, group)
        value = getattr(owner, name)
        default = type(owner).model_fields[name].get_default(call_default_factory=True)
        if value == default:
            return
        if isinstance(value, Group):
            key, value = _first_difference(key, value, default)
        raise ValueError(f"{key} must be left out {when}, received {value!r}; remove it")


def _first_difference(key: str, group: Group, default: Group) -> tuple[str, object]:
    """Returns the key and value of the first field of a group that differs from its default's."""
    changed = ((f"{key}.{name}", value) for name, value in group if value != getattr(default, name))
    return next(changed)


class TrainRmConfig(RewardModelSettings):
    """Train a reward model, starting from an SFT model."""

    model: ModelReference
    """SFT model to start from (--model): a local folder or a Hub id."""
    run: RunConfig
