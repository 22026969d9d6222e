"""From YAML file, `--set` and flags to one validated root model, and back to YAML.

Flags beat `--set`, which beats the file, which beats the defaults.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .base import Group
from .errors import InputError
from .explain import explain

G = TypeVar("G", bound=Group)


def load_config(
    root: type[G],
    *,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
    data: Mapping[str, object] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> G:
    """Returns the validated configuration of one command.

    Args:
        root: The command's root model.
        file: YAML 1.2 file with a mapping of sections.
        assignments: `section.key=value` each, the value read as YAML.
        flags: Dotted key to value; None means that the flag was not given.
        data: Keys of the data group, in every stage that the root has; None likewise. They replace
            what the file says, and `assignments` may still say otherwise for one stage.
        defaults: Sections and keys that stand where the file names no others.

    Raises:
        InputError: One line per problem: key, rule, received value, what to do.
    """
    written = read_yaml(file) if file is not None else {}
    values: dict[str, Any] = _untangle(overlay(defaults or {}, written))
    given = {key: value for key, value in (data or {}).items() if value is not None}
    _use_data(values, root.STAGES, given)
    for text in assignments:
        key, value = _parse_assignment(text)
        _assign(values, key, value)
    if root.STAGES == ("",):  # no other stage that could be meant: the flag is the last word
        flags = {**{f"data.{key}": value for key, value in given.items()}, **(flags or {})}
    for key, value in (flags or {}).items():
        if value is not None:
            _assign(values, key, value)
    return validate(root, values)


def validate(root: type[G], values: Mapping[str, Any]) -> G:
    """Returns the root model made of plain values.

    Raises:
        InputError: One line per problem.
    """
    try:
        return root.model_validate(values)
    except ValidationError as error:
        raise InputError(*explain(root, error)) from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML 1.2 file (`on` is a word, `20:30` too).

    Raises:
        InputError: The file is missing, no UTF-8, no valid YAML or no mapping; with file and line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{file}: the configuration file must exist; check the path given to --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: must be a readable UTF-8 file, received: {error}") from None
    values: dict[str, Any] = _untangle(_parse_mapping(text, str(file)))
    return values


def unfold(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a mapping in which `a.b: 1` has become `a: {b: 1}`."""
    unfolded: dict[str, Any] = {}
    for dotted, value in values.items():
        key, _, inner = str(dotted).partition(".")
        one = {key: unfold({inner: value})} if inner else {key: value}
        unfolded = overlay(unfolded, one)
    return unfolded


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `below` with the keys of `above` in their places, section by section."""
    values = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = overlay(values[key], value) if both else value
    return values


def _untangle(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Returns a copy in which nothing is shared: an alias is one object in two places."""
    if isinstance(value, dict):
        return {key: _untangle(inner) for key, inner in value.items()}
    return [_untangle(inner) for inner in value] if isinstance(value, list) else value


def differing_keys(first: str, second: str) -> list[str]:
    """Returns `section.key: old -> new` for every key in which two YAML texts differ."""
    old, new = (flatten(_parse_mapping(text, "configuration")) for text in (first, second))
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return [f"{key}: {old.get(key)} there, {new.get(key)} now" for key in keys]


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Returns a mapping in which `a: {b: 1}` has become `a.b: 1`; the inverse of `unfold`."""
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def to_yaml(config: Group) -> str:
    """Returns the whole effective configuration as YAML; loading it gives an equal one."""
    stream = io.StringIO()
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(config.model_dump(mode="json"), stream)
    return stream.getvalue()


def _parse_mapping(text: str, where: str) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = (error.problem or "not valid YAML").splitlines()[0]
        raise InputError(f"{where}{line}: must be valid YAML 1.2: {problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date with month 13, `!!int x`
        raise InputError(f"{where}: must be valid YAML 1.2: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(
            f"{where}: must hold a mapping of sections, received a {type(values).__name__}"
        )
    return values


def _use_data(values: dict[str, Any], stages: Sequence[str], given: Mapping[str, object]) -> None:
    """Sets keys of the data group of each stage; of another source another part is read."""
    for stage in stages if given else ():
        section = values if not stage else values.setdefault(stage, {})
        if not isinstance(section, dict):  # a stage that is left out, or no section at all
            continue
        other = dict.fromkeys(("subset", "split", "validation")) if "source" in given else {}
        for key, value in {**other, **given}.items():
            _assign(section, f"data.{key}", value)


def _parse_assignment(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set: must read section.key=value, received {text!r}")
    return key.strip(), _parse_mapping(f"value: {value}", f"--set {text}")["value"]


def _assign(values: dict[str, Any], dotted: str, value: object) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if inner is None:
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise InputError(
                f"{dotted}: {section} must be a section, received {inner!r}; "
                f"remove that value or set {section} itself"
            )
        values = inner
    values[key] = value
