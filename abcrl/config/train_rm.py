"""`abcrl train-rm`: the command's root model."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Group
from .data import DataConfig
from .paths import ModelReference
from .run import RunConfig
from .training import TrainingConfig, TruncationConfig


class RewardModelSettings(Group):
    """Everything about a reward model but the model it starts from and the folder it writes to."""

    objective: Literal["classifier"] = "classifier"
    """classifier: two labels, score = logit(positive) - logit(negative)."""
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    truncation: TruncationConfig = TruncationConfig()
    credit_texts: Annotated[int, Field(ge=0)] = 64
    """Held-out texts over which the spread of credit is reported; 0: none."""


class TrainRmConfig(RewardModelSettings):
    """Train a reward model, starting from an SFT model."""

    model: ModelReference
    """SFT model to start from (--model): a local folder or a Hub id."""
    run: RunConfig
