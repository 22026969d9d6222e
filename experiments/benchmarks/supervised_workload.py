"""What both sides of supervised_speed.py train: random rows of token ids, and random networks."""

import argparse
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
)


class Rows(Dataset[dict[str, Any]]):
    """Random token ids of random lengths, each with a label."""

    def __init__(self, number: int, settings: argparse.Namespace) -> None:
        draw = random.Random(0)
        shortest = max(2, settings.length // 4)
        lengths = [draw.randint(shortest, settings.length) for _ in range(number)]
        self._rows = [
            {
                "input_ids": [draw.randrange(2, settings.vocabulary) for _ in range(length)],
                "label": draw.randrange(2),
            }
            for length in lengths
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


def collate(
    rows: Sequence[Mapping[str, Any]], *, stage: str, tokens: list[int]
) -> dict[str, Tensor]:
    """Returns a right-padded batch with what the stage learns; notes its tokens."""
    lengths = [len(row["input_ids"]) for row in rows]
    tokens.append(sum(lengths))
    width = max(lengths)
    padding = [[1] * (width - length) for length in lengths]
    ids = [row["input_ids"] + pad for row, pad in zip(rows, padding, strict=True)]
    mask = [[1] * length + [0] * (width - length) for length in lengths]
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    learnt = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels = learnt if stage == "sft" else torch.tensor([row["label"] for row in rows])
    return {**batch, "labels": labels}


def make_network(stage: str, settings: argparse.Namespace) -> PreTrainedModel:
    """Returns GPT-2 of random weights, always the same."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=settings.vocabulary,
        n_layer=settings.layers,
        n_embd=settings.width,
        n_head=settings.heads,
        n_positions=settings.length,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    kind: Any = GPT2LMHeadModel if stage == "sft" else GPT2ForSequenceClassification
    network: PreTrainedModel = kind(config).to(settings.device)
    return network
