"""Field types for folders and models: a resolved configuration holds absolute paths."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from .errors import InputError
from .weights import find_weights, holds_value_head

# One of these lies in every folder that a tokenizer was saved to.
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
)


def absolute_if_local(value: str) -> str:
    """Returns a Hub id as it is; whatever looks like a path or exists on disk becomes absolute."""
    path = _expand(value)
    looks_local = value.startswith((".", "/", "~")) or _exists(path)
    return str(path.absolute()) if looks_local else value


def require_model_folder(reference: str, key: str, *, kind: str = "") -> None:
    """Refuses a local path that holds no model, before anything is loaded; a Hub id passes.

    Args:
        reference: A resolved `ModelReference`.
        key: Configuration key to name.
        kind: What transformers calls such models, CausalLM or SequenceClassification: a model that
            says of itself that it is of another kind is refused; "": any. A language model whose
            weights hold a `v_head` is a reward model, and passes as SequenceClassification.

    Raises:
        InputError: The path is no folder with a config.json, or holds another kind of model.
    """
    path = Path(reference)
    if not path.is_absolute():
        return
    if not (path / "config.json").is_file():
        raise InputError(
            f"{key}: must be a model folder with a config.json or a Hub id, received {reference}; "
            f"a run keeps its model in <output>/final"
        )
    architectures = _read_architectures(path / "config.json") if kind else []
    # GPT-2's language model is called GPT2LMHeadModel.
    names = (kind, "LMHeadModel") if kind == "CausalLM" else (kind,)
    if not architectures or any(name in one for one in architectures for name in names):
        return
    lacks, remedy = "", "give another model"
    if kind == "SequenceClassification":
        weights = find_weights(path)
        if weights is not None and holds_value_head(weights):
            return
        lacks, remedy = " without a v_head", "give a reward model, e.g. one of abcrl train-rm"
    raise InputError(
        f"{key}: must be a model for {kind}, received {reference}, which is a "
        f"{architectures[0]}{lacks}; {remedy}"
    )


def _read_architectures(file: Path) -> list[str]:
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        return []  # whoever loads the model will say what is wrong
    return [name for name in named if isinstance(name, str)]


def require_tokenizer_folder(reference: str, key: str) -> None:
    """Refuses a local path that holds no tokenizer, before anything is loaded; a Hub id passes.

    Args:
        reference: A resolved `ModelReference`.
        key: Configuration key to name.

    Raises:
        InputError: The path is no folder with the files of a tokenizer.
    """
    folder = Path(reference)
    if folder.is_absolute() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(
            f"{key}: must be a folder that holds a tokenizer (tokenizer.json, or vocab.json with "
            f"merges.txt) or a Hub id, received {reference}; give the folder that the tokenizer "
            f"was saved to"
        )


def read_model_file(file: str, key: str) -> dict[str, Any]:
    """Returns what a transformers configuration file (a model's config.json) says.

    Raises:
        InputError: It is missing, no JSON object, or names no model type.
    """
    rule = f"{key}: must be a transformers configuration file (a model's config.json)"
    try:
        values = json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{rule}, received {file}, which does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON
        raise InputError(f"{rule}, received {file} ({error}); check the file") from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise InputError(
            f"{rule}, received {file}, which names no model_type; add it, e.g. "
            f'"model_type": "llama"'
        )
    return values


def absolute(value: str) -> str:
    """Returns an absolute path, ~ resolved."""
    path = _expand(value)
    try:
        path.exists()
    except OSError as error:
        raise ValueError(f"must be a usable path, received {value!r} ({error.strerror})") from None
    return str(path.absolute())


def _expand(value: str) -> Path:
    if "\0" in value:
        raise ValueError(f"must hold no NUL character, received {value!r}")
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


@dataclass(frozen=True)
class NamesFiles:
    """Marks a field whose value, where it is an absolute path, is a file or folder of a run."""


OutputPath = Annotated[str, Field(min_length=1), AfterValidator(absolute), NamesFiles()]
"""A folder to be written."""

ModelReference = Annotated[
    str, Field(min_length=1), AfterValidator(absolute_if_local), NamesFiles()
]
"""A local model folder or a Hub id."""
