"""Runs of train-rm on a few pairs that one word tells apart."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from abcrl.config import TrainRmConfig
from abcrl.data import Pair
from abcrl.dialogue import PromptText
from abcrl.supervised.reward.preferences import Preferences

FILMS = [f"the film number {n}" for n in range(120)]
# One word tells them apart; how long they are does not.
PAIRS = [
    Pair(
        PromptText(f"What of {film}?"),
        f" It was good{', and so on' * (number % 3)}, {film}.",
        f" It was bad{', and so on' * (number // 3 % 3)}, {film}.",
    )
    for number, film in enumerate(FILMS)
]


def write(file: Path, pairs: list[Pair]) -> str:
    rows = (
        {
            "prompt": pair.prompt.text if pair.prompt else None,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
        }
        for pair in pairs
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def run_on_pairs(
    runs: Any, folder: Path, pairs: list[Pair] = PAIRS, **changes: Any
) -> TrainRmConfig:
    """A run in `folder`/run on these pairs, from the SFT model of `runs`, a `TinyRuns`."""
    config: TrainRmConfig = runs.train_rm(
        folder / "run",
        **{
            "objective": "bradley-terry",
            "data__source": write(folder / "pairs.jsonl", pairs),
            "data__limit": None,
            "data__validation_fraction": 0.3,
            **changes,
        },
    )
    return config


def objective(
    config: TrainRmConfig, tokenizer: PreTrainedTokenizerBase, told: list[str] | None = None
) -> Preferences:
    tell = (told if told is not None else []).append
    return Preferences(config, Preferences.read(config, tell), tokenizer, tell)


def batch_of(pairs: Preferences, numbers: range) -> dict[str, torch.Tensor]:
    return pairs.collate([pairs.dataset[number] for number in numbers])
