"""`abcrl sft`: the command's root model."""

from .base import Group
from .data import DataConfig
from .run import RunConfig
from .training import ModelConfig, TrainingConfig


class SftSettings(Group):
    """Everything about supervised fine-tuning but the folder it writes to."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


class SftConfig(SftSettings):
    """Train a causal language model on texts."""

    run: RunConfig
