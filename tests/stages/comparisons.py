"""Comparisons of a second, and what they leave."""

import csv
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import CompareConfig, PpoConfig, RunFailedError, load_config, plan_cells
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import RunFolder, read_rows

STAGES = {
    f"{stage}.{key}": value
    for stage in ("sft", "train_rm")
    for key, value in {
        "data.limit": 300,
        "training.max_steps": 5,
        "training.batch_size": 8,
        "training.max_length": 80,
        "training.learning_rate": 3e-3,
    }.items()
}
TINY = {
    **STAGES,
    "sft.model.base": "tiny",
    "sft.model.context_length": 96,
    "sft.model.vocab_size": 400,
    "train_rm.credit_texts": 4,
    "ppo.steps": 2,
    "ppo.data.limit": 300,
    "ppo.prompt.min_characters": 0,
    "ppo.ppo.batch_size": 4,
    "ppo.ppo.mini_batch_size": 2,
    "ppo.ppo.learning_rate": 1e-3,
    "ppo.score.center_samples": 4,
    "ppo.evaluation.interval": 1,
    "ppo.evaluation.prompts": 4,
    "ppo.evaluation.samples": 1,
    "seeds": [0, 1],
}
ARMS = [{"name": "abc", "reward": {"mode": "abc"}}, {"name": "rlhf", "reward": {"mode": "rlhf"}}]


class Listening(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def configure(output: Path, **changes: Any) -> CompareConfig:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    flags = {**TINY, "arms": ARMS, "output": str(output), "grid.jobs": 1, **named}
    return load_config(CompareConfig, flags=flags)


def on(runs: Any, output: Path, **changes: Any) -> CompareConfig:
    """A comparison on models that exist already: its cells alone."""
    trained = {key: value for key, value in TINY.items() if key not in STAGES}
    trained = {key: value for key, value in trained.items() if key.startswith(("ppo", "seeds"))}
    flags = {
        **trained,
        "sft": None,
        "train_rm": None,
        "policy": str(runs.policy),
        "reward_model": str(runs.reward_model),
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    values = {"arms": ARMS, "output": str(output), "grid.jobs": 1, **named}
    file = output.with_name(f"{output.name}.yaml")
    file.write_text("sft: null\ntrain_rm: null\n")
    return load_config(CompareConfig, file=file, flags={**flags, **values})


def samples_of(config: PpoConfig) -> list[dict[str, Any]]:
    """Runs PPO; returns the rows of its samples."""
    run_ppo(config, Listening())
    return read_rows(Path(config.run.output), "samples")


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cells(config: CompareConfig) -> dict[str, Path]:
    return {cell.key: cell.folder for cell in plan_cells(config)}


def stamps(folder: Path) -> dict[Path, int]:
    """When each file of each run was last written."""
    runs = [folder / "sft", folder / "reward-model", folder / "cells"]
    return {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}


def fake_failure(config: CompareConfig, key: str) -> Path:
    """Leaves what a cell leaves that failed in its own process."""
    [cell] = [cell for cell in plan_cells(config) if cell.key == key]
    with (
        pytest.raises(RunFailedError),
        RunFolder.create(cell.folder, cell.run, {"device": "cpu"}),
    ):
        raise RunFailedError("step 2: loss is nan")
    return cell.folder
