"""Turns validation errors into lines that name key, rule, received value and what to do."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .base import Group


def explain(root: type[Group], error: ValidationError) -> list[str]:
    """Returns one line per problem."""
    return [_line(root, problem) for problem in error.errors(include_url=False)]


def _line(root: type[Group], problem: ErrorDetails) -> str:
    loc = _first_required(root, problem["loc"]) if problem["type"] == "missing" else problem["loc"]
    key = ".".join(str(part) for part in loc)
    received = problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key, received {_short(received)}; {_nearest(root, loc)}"
        case "missing":
            return f"{key}: must be given; {_hint(root, loc)}"
        case "value_error":
            prefix = f"{key}: " if key else ""
            return prefix + str(problem.get("ctx", {}).get("error"))
    if problem["type"] == "model_type":
        return f"{key}: must be a section of keys, received {_short(received)}; {_hint(root, loc)}"
    rule = re.sub(r"^(Input|String|List|Value) should", "must", problem["msg"])
    return f"{key}: {rule}, received {_short(received)}; {_hint(root, loc)}"


def _first_required(root: type[Group], loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Goes down from a missing group to the first field in it that has no default."""
    for group in _groups_at(root, loc):
        for name, field in group.model_fields.items():
            if field.is_required():
                return _first_required(root, (*loc, name))
    return loc


def _nearest(root: type[Group], loc: Sequence[int | str]) -> str:
    groups = list(_groups_at(root, loc[:-1]))
    names = sorted({name for group in groups for name in group.model_fields})
    section = "".join(f"{part}." for part in loc[:-1])
    close = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {section}{close[0]}?"
    return f"valid here: {', '.join(section + name for name in names)}"


def _hint(root: type[Group], loc: Sequence[int | str]) -> str:
    """The field's own documentation says what to do; inside lists and unions it is the parent's."""
    for depth in range(len(loc), 0, -1):
        for group in _groups_at(root, loc[: depth - 1]):
            field = group.model_fields.get(str(loc[depth - 1]))
            if field is not None and field.description:
                return " ".join(field.description.split())
    return "--dry-run shows every key"


def _groups_at(root: type[Group], loc: Sequence[int | str]) -> Iterator[type[Group]]:
    """Yields the groups that a location may stand for, through lists and unions."""
    groups = [root]
    for part in loc:
        if isinstance(part, int):
            continue
        fields = [group.model_fields[part] for group in groups if part in group.model_fields]
        groups = [group for field in fields for group in _groups_in(field.annotation)]
    yield from groups


def _groups_in(annotation: object) -> Iterator[type[Group]]:
    if isinstance(annotation, type) and issubclass(annotation, Group):
        yield annotation
    for argument in get_args(annotation):
        yield from _groups_in(argument)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
