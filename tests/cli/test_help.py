import subprocess
import sys
from pathlib import Path

import pytest

import abcrl as package

SCRIPT = Path(sys.executable).with_name("abcrl")
COMMANDS = ["sft", "train-rm", "ppo", "compare", "credit", "eval", "inspect", "report"]
CONFIGURED = [command for command in COMMANDS if command != "report"]
FLAGS = {
    "sft": ["--model", "--dataset", "--output", "--epochs", "--seed"],
    "train-rm": ["--model", "--dataset", "--objective", "--output", "--epochs", "--seed"],
    "ppo": [
        "--policy",
        "--reward-model",
        "--dataset",
        "--reward",
        "--beta",
        "--steps",
        "--seed",
        "--checkpoint-interval",
        "--output",
        "--resume",
        "--allow-inexact",
    ],
    "compare": ["--modes", "--seeds", "--jobs", "--output", "--retry-failed"],
    "credit": ["--reward-model", "--policy", "--dataset", "--modes", "--texts", "--output"],
    "eval": ["--against", "--reward-model", "--reference", "--prompts", "--samples", "--output"],
    "inspect": ["--split", "--subset", "--validation", "--tokenizer", "--examples"],
    "report": ["--output"],
}

# Runs everything that only reads in one process, then looks at what that imported.
PROBE = """
import contextlib, io, sys
from importlib.metadata import entry_points
[script] = entry_points(group="console_scripts", name="abcrl")
app = script.load()
heavy = {"torch", "transformers", "datasets", "accelerate", "matplotlib", "scipy", "numpy"}
calls = [["--help"], ["--version"], ["sft", "--output", "x", "--dry-run"], ["compare", "--dry-run"],
         ["credit", "--reward-model", "a/b", "--dry-run"], ["ppo", "--beta", "1.5"],
         ["eval", "a/b", "--reward-model", "a/b", "--dry-run"],
         ["sft", "--config", "absent.yaml"], ["inspect", "--set", "data.limit=20"]]
commands = ("sft", "train-rm", "ppo", "compare", "credit", "eval", "inspect", "report")
calls += [[command, "--help"] for command in commands]
for call in calls:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app(call)
    print(call, sorted(heavy & set(sys.modules)), file=sys.stdout)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_flag_with_its_meaning(abcrl, command):
    answer = abcrl(command, "--help")
    assert answer.code == 0
    configured = ["--config", "--set", "--dry-run"] if command in CONFIGURED else []
    for flag in [*FLAGS[command], *configured, "--debug"]:
        [line] = [line for line in answer.output.splitlines() if line.split()[:1] == [flag]]
        assert len(line.split()) > 2, flag
    assert "[/" not in answer.output  # no markup shows


def test_help_lists_the_commands_in_pipeline_order(abcrl):
    answer = abcrl("--help")
    assert answer.code == 0
    listed = [line.split()[0] for line in answer.output.partition("Commands:")[2].splitlines()[1:]]
    assert listed == COMMANDS
    assert abcrl("-h").output == answer.output


def test_the_version_is_printed(abcrl):
    assert abcrl("--version").output == f"abcrl {package.__version__}\n"


@pytest.mark.parametrize("arguments", [["nosuch"], ["sft", "--nosuch"], ["sft", "--seed", "x"]])
def test_a_wrong_call_is_bad_input(abcrl, arguments):
    answer = abcrl(*arguments)
    assert answer.code == 2
    assert arguments[-1] in answer.errors or arguments[-2] in answer.errors


def test_looking_imports_nothing_heavy():
    answer = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    lines = answer.stdout.splitlines()
    assert len(lines) == 17
    assert [line for line in lines if not line.endswith(" []")] == []


def test_the_installed_script_answers():
    answer = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: abcrl" in answer.stdout
    assert answer.stderr == ""
