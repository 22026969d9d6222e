"""`abcrl inspect`: the command's root model."""

from typing import Annotated

from pydantic import Field

from .base import Group
from .data import DataConfig
from .paths import ModelReference


class InspectConfig(Group):
    """What a source holds, what each command would read of it, and what is wrong with it."""

    data: DataConfig = DataConfig()
    tokenizer: ModelReference | None = None
    """Whose tokens are counted and shown (--tokenizer): a model or tokenizer, a local folder or a
    Hub id; null: characters alone."""
    examples: Annotated[int, Field(ge=0)] = 3
    """Rows that are shown as the policy would read them."""
