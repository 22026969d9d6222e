"""The files and folders that a configuration names, and the same configuration with them elsewhere.

For a run that is computed on another machine and belongs on this one.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar, get_args

from pydantic.fields import FieldInfo

from .base import Group
from .paths import NamesFiles

G = TypeVar("G", bound=Group)


def named_paths(config: Group) -> list[Path]:
    """Returns the absolute paths that a configuration names, each once; Hub ids are none."""
    return list(dict.fromkeys(Path(value) for value in _values(config)))


def relocate(config: G, places: Mapping[Path, Path]) -> G:
    """Returns a copy that names other places for some files and folders.

    Args:
        config: A valid configuration.
        places: The new place of a path; what is not in it stays. Its name keeps its ending, by
            which files of data are told.
    """
    changed: dict[str, object] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Group):
            changed[name] = relocate(value, places)
        elif _names_files(field) and isinstance(value, str) and Path(value) in places:
            changed[name] = str(places[Path(value)])
    return config.model_copy(update=changed)


def follow_move(recorded: G, old: Path, planned: Group, new: Path) -> G:
    """Returns a recorded configuration with its paths as planned, if its folder has been moved.

    Both folders end alike, in cells/abc/seed-0 say; what lay below the rest of the old one is
    looked for at the same place below the rest of the new one, and is meant where it is planned.

    Args:
        recorded: A run's configuration.
        old: Its folder by that configuration.
        planned: The configuration of the same run now.
        new: Its folder now.
    """
    while old.name == new.name and old != old.parent and new != new.parent:
        old, new = old.parent, new.parent
    moved = {
        path: new / path.relative_to(old)
        for path in named_paths(recorded)
        if path.is_relative_to(old)
    }
    names = named_paths(planned)
    return relocate(recorded, {path: place for path, place in moved.items() if place in names})


def _values(config: Group) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Group):
            yield from _values(value)
        elif _names_files(field) and isinstance(value, str) and Path(value).is_absolute():
            yield value


def _names_files(field: FieldInfo) -> bool:
    """Whether the field is marked; in `Annotated[...] | None` the mark is inside the union."""
    inner = [mark for part in get_args(field.annotation) for mark in get_args(part)[1:]]
    return any(isinstance(mark, NamesFiles) for mark in [*field.metadata, *inner])
