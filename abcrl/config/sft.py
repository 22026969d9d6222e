"""`abcrl sft`: the command's root model."""

from typing import Literal, Self

from pydantic import model_validator

from .base import Group
from .checkpoint import TrainingCheckpointConfig
from .data import DataConfig
from .networks import AdaptationConfig
from .run import RunConfig
from .training import HeldOutLossConfig, ModelConfig, TrainingConfig


class SftSettings(Group):
    """Everything about supervised fine-tuning but the folder it writes to."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: HeldOutLossConfig = HeldOutLossConfig()
    networks: AdaptationConfig = AdaptationConfig()
    checkpoint: TrainingCheckpointConfig = TrainingCheckpointConfig()
    loss: Literal["response", "all"] = "response"
    """Tokens that are learnt: the responses with their EOS, or the prompts too. Of plain texts,
    which have no prompt, always all."""
    packing: bool = False
    """Fill rows of training.max_length tokens with several texts each, which do not see each other;
    training.batch_size counts rows then."""

    @property
    def context_length(self) -> int | None:
        """Longest sequence of a model of a named size; None where the model itself says it."""
        return None if self.model.shape is None else self.model.context_length

    @model_validator(mode="after")
    def _texts_fit_the_context(self) -> Self:
        context = self.context_length
        if context is not None and self.training.max_length > context:
            raise ValueError(
                f"training.max_length must fit model.context_length ({context} tokens), received "
                f"{self.training.max_length}; lower it or give the model a longer context"
            )
        return self

    @model_validator(mode="after")
    def _adapters_have_a_trained_model(self) -> Self:
        if self.networks.lora is not None and self.model.from_scratch:
            raise ValueError(
                f"networks.lora must be left out with random weights, which adapters leave as they "
                f"are, received model.base {self.model.base}; remove it, or name a trained model"
            )
        return self


class SftConfig(SftSettings):
    """Train a causal language model on texts."""

    run: RunConfig
