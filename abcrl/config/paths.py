"""Field types for folders and models: a resolved configuration holds absolute paths."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from .errors import InputError


def absolute_if_local(value: str) -> str:
    """Returns a Hub id as it is; whatever looks like a path or exists on disk becomes absolute."""
    path = _expand(value)
    looks_local = value.startswith((".", "/", "~")) or _exists(path)
    return str(path.absolute()) if looks_local else value


def require_model_folder(reference: str, key: str) -> None:
    """Refuses a local path that holds no model, before anything is loaded; a Hub id passes.

    Args:
        reference: A resolved `ModelReference`.
        key: Configuration key to name.

    Raises:
        InputError: The path is no folder with a config.json.
    """
    path = Path(reference)
    if path.is_absolute() and not (path / "config.json").is_file():
        raise InputError(
            f"{key}: must be a model folder with a config.json or a Hub id, received {reference}; "
            f"a run keeps its model in <output>/final"
        )


def _absolute(value: str) -> str:
    path = _expand(value)
    try:
        path.exists()
    except OSError as error:
        raise ValueError(f"must be a usable path, received {value!r} ({error.strerror})") from None
    return str(path.absolute())


def _expand(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(
            f"~ must stand for a home folder that exists, received {value!r}"
        ) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes
        return False


OutputPath = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]
"""A folder to be written."""

ModelReference = Annotated[str, Field(min_length=1), AfterValidator(absolute_if_local)]
"""A local model folder or a Hub id."""
