"""When a run can be gone on with, and which settings may have changed by then."""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from .base import Group
from .load import differing_keys


class CheckpointConfig(Group):
    """Checkpoints to resume from. They change no result; an interrupt writes one more."""

    interval: Annotated[int, Field(ge=1)] = 20
    """PPO steps between checkpoints (--checkpoint-interval); a kill loses what came after."""
    keep_last: Annotated[int, Field(ge=1)] = 2
    """How many are kept, the newest; the one before is there should the newest be damaged."""


class TrainingCheckpointConfig(CheckpointConfig):
    """The same of supervised training, whose steps are shorter."""

    interval: Annotated[int, Field(ge=1)] = 200
    """Optimizer steps between checkpoints (--checkpoint-interval); a kill loses what came after.
    One more is written when the training is over."""


def differing_settings(
    stored: str, wanted: str, *, free: Collection[str] = ("run.output", "run.device")
) -> list[str]:
    """Returns `section.key: old there, new now` for settings that a run cannot go on without.

    Args:
        stored: A run's config.yaml.
        wanted: The configuration now, as YAML.
        free: Keys that may differ besides those of `checkpoint`. What a run really computes on is
            in its environment; where its folder lies, it does not care.
    """
    lines = differing_keys(stored, wanted)
    keys = [line.partition(":")[0] for line in lines]
    return [
        line
        for line, key in zip(lines, keys, strict=True)
        if key not in free and not key.startswith("checkpoint.")
    ]
