"""Every recipe resolves without a network; its README has what a reader needs."""

import re
import socket
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from abcrl.analysis.statistics import can_reach_verdict
from abcrl.config import CompareConfig, load_config

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
YAMLS = sorted(EXPERIMENTS.glob("*/*.yaml"))
READMES = sorted(EXPERIMENTS.glob("*/README.md"))
# What the paper's authors released, which is no recipe.
REFERENCE = EXPERIMENTS / "paper" / "README.md"

HEADINGS = ("Question", "Command", "Cost")
RECIPE_HEADINGS = (*HEADINGS, "Setting", "Declared contrasts?", "Result")


def name_of(path: Path) -> str:
    return str(path.relative_to(EXPERIMENTS))


@pytest.fixture
def offline(monkeypatch):
    """Whoever asks for a connection fails the test."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("file", YAMLS, ids=name_of)
def test_a_recipe_prints_its_plan_without_a_network(file, offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [script] = entry_points(group="console_scripts", name="abcrl")
    answer = CliRunner().invoke(script.load(), ["compare", "--config", str(file), "--dry-run"])
    assert answer.exit_code == 0, answer.stderr
    plan = [line for line in answer.stdout.splitlines() if line.startswith("# ")]
    assert any(
        re.match(r"# \d+ cells \(\d+ arms x \d+ seeds\) of \d+ PPO steps", one) for one in plan
    )
    assert any(line.startswith("# declared contrasts: ") for line in plan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", YAMLS, ids=name_of)
def test_the_seeds_carry_the_declared_contrasts(file):
    config = load_config(CompareConfig, file=file)
    assert config.contrasts
    assert can_reach_verdict(len(config.seeds), len(config.contrasts))
    assert any(arm.reward.mode == "rlhf" and arm.gae_lambda == 1 for arm in config.arms), (
        "the lambda confound"
    )


def test_no_two_recipes_write_to_one_folder():
    outputs = [load_config(CompareConfig, file=file).output for file in YAMLS]
    assert len(set(outputs)) == len(YAMLS)


@pytest.mark.parametrize("file", YAMLS, ids=name_of)
def test_a_recipe_is_named_in_its_readme_and_in_the_table(file):
    readme = (file.parent / "README.md").read_text(encoding="utf-8")
    written = f"{file.parent.name}/{file.name}"
    pattern = re.sub(r"(\d+-\d+|\d\.\d+)(?=\.yaml)", "$", written)  # a loop over lengths, or so
    assert written in readme or re.search(re.escape(pattern).replace(r"\$", r"\$\w+"), readme)
    assert f"({file.parent.name}/README.md)" in (EXPERIMENTS / "README.md").read_text("utf-8")


@pytest.mark.parametrize("file", [one for one in READMES if one != REFERENCE], ids=name_of)
def test_a_readme_has_the_fixed_headings(file):
    text = file.read_text(encoding="utf-8")
    recipe = bool(list(file.parent.glob("*.yaml"))) or "Not run yet" in text
    for heading in RECIPE_HEADINGS if recipe else HEADINGS:
        assert re.search(rf"^\*\*{heading}\.?\*\*", text, re.MULTILINE), heading


@pytest.mark.parametrize("file", [EXPERIMENTS / "README.md", *READMES], ids=name_of)
def test_every_relative_link_leads_somewhere(file):
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve()
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles]
            assert anchor in anchors, target
