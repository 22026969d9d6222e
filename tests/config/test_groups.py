import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

import abcrl.config
from abcrl.config import DataConfig, SftConfig, load_config
from abcrl.config.base import Group


def groups(base: type[Group] = Group) -> Iterator[type[Group]]:
    for group in base.__subclasses__():
        if group.__module__.startswith("abcrl.config."):
            yield group
        yield from groups(group)


GROUPS = sorted(set(groups()), key=lambda group: group.__name__)


def is_section(annotation: object) -> bool:
    return any(group.__name__ in str(annotation) for group in GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_and_field_is_documented(group):
    assert group.__doc__
    for name, field in group.model_fields.items():
        # A section is documented by its group.
        assert field.description or is_section(field.annotation), name


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_stays_small_enough_to_overlook(group):
    choices = [f for f in group.model_fields.values() if not is_section(f.annotation)]
    assert len(choices) <= 12
    assert 1 <= len(group.model_fields) <= 15  # a root is mostly a list of sections


def test_the_groups_are_found():
    names = {group.__name__ for group in GROUPS}
    assert {"SftConfig", "AlgorithmConfig", "ArmConfig", "KlConfig", "MachineConfig"} <= names
    assert {name for name in abcrl.config.__all__ if name.endswith("Config")} <= names


def test_a_group_is_frozen():
    config = load_config(SftConfig, assignments=["run.output=x"])
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, "data", DataConfig())  # noqa: B010 - mypy knows that it is frozen
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config.data, "limit", 5)  # noqa: B010


def test_replacing_a_field_is_validated_and_leaves_the_original():
    data = DataConfig(limit=5)
    assert data.replace(limit=6) == DataConfig(limit=6)
    assert data.limit == 5
    with pytest.raises(ValidationError):
        data.replace(limit=1)
    with pytest.raises(ValidationError):
        data.replace(limits=6)


def test_configuration_costs_no_torch():
    code = (
        "import sys; from abcrl.config import CompareConfig, load_config;"
        "load_config(CompareConfig);"
        "print(sorted({'torch', 'transformers', 'datasets', 'numpy', 'rich', 'typer'}"
        " & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
