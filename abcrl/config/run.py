"""Where a run writes, from which seed, on which device."""

from typing import Annotated

from pydantic import Field

from .base import Group
from .paths import OutputPath


class MachineConfig(Group):
    """What a run computes on."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto (a GPU if there is one) | cpu | cuda | cuda:1 | mps."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of torch; configured, never derived, because it changes the last digits."""


class RunConfig(MachineConfig):
    """One run and its folder."""

    output: OutputPath
    """Folder of the run (--output); it must not exist yet."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random draw of the run follows from it."""
