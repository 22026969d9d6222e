"""What a wheel would hold; `.ci/run` builds and installs a real one."""

import re
import tomllib
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import pytest

import abcrl
from abcrl.config import CompareConfig, read_yaml, validate

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted([*ROOT.glob("abcrl/**/*.py"), *ROOT.glob("cli/**/*.py")])


def test_every_package_on_disk_is_listed_and_the_other_way_round():
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in MODULES
        if path.name == "__init__.py"
    }
    # The terminal is installed under a name of its own: no top-level `cli` in site-packages.
    expected = {re.sub(r"^cli\b", "abcrl_cli", name) for name in on_disk}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert set(listed) == expected
    assert len(listed) == len(set(listed))
    assert {"abcrl", "abcrl_cli"} <= expected


def test_every_module_lies_in_a_package():
    lost = [path for path in MODULES if not (path.parent / "__init__.py").exists()]
    assert lost == []


def test_the_typing_marker_and_the_recipe_are_package_data():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        for pattern in patterns:
            assert list(files(package).glob(pattern)), (package, pattern)  # type: ignore[attr-defined]
    assert files("abcrl").joinpath("py.typed").is_file()
    recipe = Path(str(files("abcrl.config") / "toy.yaml"))
    assert validate(CompareConfig, read_yaml(recipe)).arms


def test_no_other_data_file_is_left_out_of_the_wheel():
    packaged = {
        ROOT / "abcrl/py.typed",
        *ROOT.glob("abcrl/config/*.yaml"),
        *ROOT.glob("abcrl/tools/report/template/*"),
    }
    others = {
        path
        for folder in ("abcrl", "cli")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".md"}
    }
    assert others == packaged


def test_the_console_script_leads_to_the_app():
    [script] = entry_points(group="console_scripts", name="abcrl")
    assert script.value == PROJECT["project"]["scripts"]["abcrl"]
    assert callable(script.load())


def test_the_version_is_said_once():
    assert abcrl.__version__ == version("abcrl") == PROJECT["project"]["version"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stays_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_ignore_patterns_cannot_hide_a_package():
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert patterns
    for pattern in patterns:
        # A bare `data/` or `models/` would drop abcrl/data from git.
        assert pattern.startswith("/") or pattern in {"__pycache__/", "*.pyc"}, pattern
    tops = {pattern.strip("/").split("/")[0] for pattern in patterns if pattern.startswith("/")}
    assert not tops & {"abcrl", "cli", "tests", "experiments"}
