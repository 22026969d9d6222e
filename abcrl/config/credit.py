"""`abcrl credit`: the command's root model."""

from typing import Annotated

from pydantic import Field

from .base import Group
from .data import DataConfig
from .paths import ModelReference, OutputPath
from .reward import EvidenceConfig, ReadingConfig, RewardMode
from .run import MachineConfig

Mode = Annotated[RewardMode, Field(strict=False)]


class ProbeConfig(Group):
    """How credit is held against what the score does when tokens are taken away."""

    steps: Annotated[int, Field(ge=1)] = 10
    """Points of the deletion and insertion curves after the first."""
    random_orders: Annotated[int, Field(ge=1)] = 5
    """Random orders that each curve is held against."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the random orders, and of the noise of reward modes that draw."""


class CreditConfig(Group):
    """Where a reward model's credit falls, and whether it follows the score; trains nothing."""

    reward_model: ModelReference
    """Reward model (--reward-model): a local folder or a Hub id."""
    policy: ModelReference | None = None
    """Whose tokens get the credit, and whose attention abc-d and abc-d2 read; null: no policy, the
    tokens are the reward model's own."""
    modes: Annotated[list[Mode], Field(min_length=1)] | None = None
    """Reward modes; null: all that the given models allow."""
    texts: Annotated[int, Field(ge=2)] = 100
    """Held-out texts that the credit is looked at on."""
    max_length: Annotated[int, Field(ge=2)] | None = None
    """Tokens read of each text, its prompt included. Longer plain texts are cut; responses that do
    not fit behind their prompts are left out. null: 128, or 512 where there are prompts, or what a
    model's context holds."""
    data: DataConfig = DataConfig()
    reward: EvidenceConfig = EvidenceConfig()
    score: ReadingConfig = ReadingConfig()
    probe: ProbeConfig = ProbeConfig()
    machine: MachineConfig = MachineConfig()
    output: OutputPath | None = None
    """Folder for the numbers of each text, which must not exist yet; null: only the table."""
