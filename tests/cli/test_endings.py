"""How commands end: what they print, dry runs, and exit codes 0, 1 and 130."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from abcrl.config import (
    CompareConfig,
    InputError,
    PpoConfig,
    RunFailedError,
    SftConfig,
    TrainRmConfig,
    load_config,
    to_yaml,
)
from abcrl.stages import sft as sft_stage

SCRIPT = Path(sys.executable).with_name("abcrl")


@pytest.mark.parametrize(
    ("root", "arguments"),
    [
        (SftConfig, ["sft", "--output", "x", "--model", "tiny", "--epochs", "0.5", "--seed", "3"]),
        (TrainRmConfig, ["train-rm", "--output", "x", "--model", "a/b", "--set", "data.limit=9"]),
        (
            PpoConfig,
            ["ppo", "--output", "x", "--policy", "a/b", "--reward-model", "c/d", "--beta", "0.5"],
        ),
        (CompareConfig, ["compare"]),
        (CompareConfig, ["compare", "--modes", "abc, uniform", "--seeds", "0-3", "--jobs", "2"]),
    ],
)
def test_a_dry_run_prints_what_loads_as_the_same_and_writes_nothing(abcrl, root, arguments):
    answer = abcrl(*arguments, "--dry-run")
    assert (answer.code, answer.errors) == (0, "")
    assert list(Path().iterdir()) == []
    Path("saved.yaml").write_text(answer.output, encoding="utf-8")
    printed = [line for line in answer.output.splitlines() if not line.startswith("# ")]
    assert to_yaml(load_config(root, file=Path("saved.yaml"))).splitlines() == printed
    again = abcrl(arguments[0], "--config", "saved.yaml", "--dry-run")
    assert again.output == answer.output


def test_flags_reach_their_keys(abcrl):
    arguments = ["ppo", "--policy", "a/b", "--reward-model", "c/d", "--dataset", "other"]
    arguments += ["--reward", "uniform", "--beta", "0.25", "--steps", "7", "--seed", "5"]
    Path("saved.yaml").write_text(abcrl(*arguments, "--output", "x", "--dry-run").output)
    config = load_config(PpoConfig, file=Path("saved.yaml"))
    assert (config.policy, config.reward_model, config.data.source) == ("a/b", "c/d", "other")
    assert (config.reward.mode, config.reward.beta, config.steps) == ("uniform", 0.25, 7)
    assert (config.run.seed, config.run.output) == (5, str(Path("x").absolute()))


def test_flags_go_before_set_which_goes_before_the_file(abcrl):
    Path("c.yaml").write_text("run: {seed: 1}\ndata: {limit: 5}\ntraining: {batch_size: 4}\n")
    answer = abcrl(
        "sft",
        "--config",
        "c.yaml",
        *("--set", "run.seed=2", "--set", "data.limit=6", "--output", "x", "--seed", 3),
        "--dry-run",
    )
    assert "  seed: 3\n" in answer.output.partition("run:")[2]
    assert "  limit: 6\n" in answer.output
    assert "  batch_size: 4\n" in answer.output


def test_ppo_prints_the_score_before_and_after(abcrl, tiny_runs, tmp_path):
    Path("c.yaml").write_text(to_yaml(tiny_runs.ppo(tmp_path / "run", steps=1)))
    answer = abcrl("ppo", "--config", "c.yaml", "--reward", "uniform")
    assert answer.code == 0, answer.errors
    assert answer.output.startswith("held-out score ")
    assert "gold score" in answer.output
    assert str(tmp_path / "run" / "final") in answer.output
    assert "\x1b" not in answer.output + answer.errors


def test_the_installed_script_runs_a_stage(tmp_path, tiny_runs):
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_runs.sft(tmp_path / "run")))
    answer = subprocess.run(
        [SCRIPT, "sft", "--config", "c.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert "held-out loss" in answer.stdout
    command = json.loads((tmp_path / "run" / "environment.json").read_text())["command"]
    assert command.endswith("abcrl sft --config c.yaml")
    # A run in another process, called in another way, gives the same numbers.
    ours, theirs = tiny_runs.root / "sft", tmp_path / "run"
    name = "metrics.jsonl"
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_what_nobody_reads_any_more_ends_in_silence(tmp_path):
    with subprocess.Popen(
        [SCRIPT, "compare", "--dry-run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 1


def failing(error: BaseException):
    def run_sft(config: object, reporter: object, **options: object) -> None:
        raise error

    return run_sft


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("data.x: must be y, received z"), 2, "data.x: must be y, received z"),
        (RunFailedError("step 3: no"), 1, "the run failed: step 3: no"),
        (
            ZeroDivisionError("first\nsecond"),
            1,
            "internal error: ZeroDivisionError: first; --debug shows more",
        ),
        (ValueError(""), 1, "internal error: ValueError: ; --debug shows more"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(abcrl, monkeypatch, error, code, line):
    monkeypatch.setattr(sft_stage, "run_sft", failing(error))
    answer = abcrl("sft", "--output", "x")
    assert (answer.code, answer.line, answer.output) == (code, f"abcrl: {line}", "")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(abcrl, monkeypatch):
    for error, code in ((ZeroDivisionError("why"), 1), (InputError("data.limit: too few"), 2)):
        monkeypatch.setattr(sft_stage, "run_sft", failing(error))
        answer = abcrl("sft", "--output", "x", "--debug")
        assert answer.code == code
        assert "Traceback (most recent call last)" in answer.errors
        assert str(error) in answer.errors


def test_a_dry_run_of_a_comparison_tells_its_plan(abcrl):
    output = abcrl("compare", "--modes", "abc,rlhf", "--seeds", "0-3", "--dry-run").output
    assert output.splitlines()[-7:] == [
        "# sft: to be trained",
        "# reward-model: to be trained",
        "# 8 cells (2 arms x 4 seeds) of 25 PPO steps, 0 of them finished",
        "# arm abc: beta 0.8, lambda 0.95",
        "# arm rlhf: lambda 0.95",
        "# declared contrasts: abc - rlhf",
        "# 4 seeds cannot give a verdict on 1 contrast: it takes 6, or fewer contrasts",
    ]
