"""`abcrl eval`: the command's root model."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Group
from .data import DataConfig
from .paths import ModelReference, OutputPath
from .reward import ReadingConfig
from .run import MachineConfig
from .sampling import PromptConfig, ResponseConfig


class EvalConfig(Group):
    """Held-out responses of a policy beside those of another one; trains nothing."""

    policy: ModelReference
    """Model that is evaluated (MODEL): a local folder or a Hub id."""
    reward_model: ModelReference
    """Reward model that scores the responses (--reward-model), unless MODEL is a PPO run, which has
    one: a local folder or a Hub id."""
    against: ModelReference | None = None
    """Model that the policy is held against (--against); null: nothing is."""
    reference: ModelReference | None = None
    """Model that the KL is to (--reference), the SFT model; null: no KL."""
    prompts: Annotated[int, Field(ge=2)] = 64
    """Number of held-out prompts."""
    samples: Annotated[int, Field(ge=1)] = 4
    """Responses to each prompt; a win rate takes two."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Responses at a time; a matter of memory and last digits."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the responses. Not a run's: all that is evaluated on the same prompts shares its draws."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: all but the reward model compute under autocast, where the device has it."""
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    response: ResponseConfig = ResponseConfig()
    score: ReadingConfig = ReadingConfig()
    machine: MachineConfig = MachineConfig()
    output: OutputPath | None = None
    """Folder for every response and its score, which must not exist yet; null: only the table."""
