"""Field types for folders and models: a resolved configuration holds absolute paths."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field


def _absolute(value: str) -> str:
    return str(Path(value).expanduser().absolute())


def _absolute_if_local(value: str) -> str:
    """A Hub id stays what it is; whatever looks like a path or exists on disk becomes absolute."""
    path = Path(value).expanduser()
    looks_local = value.startswith((".", "/", "~")) or path.exists()
    return str(path.absolute()) if looks_local else value


OutputPath = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]
"""A folder to be written."""

ModelReference = Annotated[str, Field(min_length=1), AfterValidator(_absolute_if_local)]
"""A local model folder or a Hub id."""
