"""`abcrl sft`: the command's root model."""

from typing import Self

from pydantic import model_validator

from .base import Group
from .data import DataConfig
from .run import RunConfig
from .training import ModelConfig, TrainingConfig


class SftSettings(Group):
    """Everything about supervised fine-tuning but the folder it writes to."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

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


class SftConfig(SftSettings):
    """Train a causal language model on texts."""

    run: RunConfig
