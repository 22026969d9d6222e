"""What both sides of ppo_step.py run: random networks of one size, in folders, and prompts.

The vocabulary is made of three-letter words, so that ids survive being decoded and read again, as
the paper's code does it: every network reads the same number of tokens on both sides.
"""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

LETTERS: Final = "abcdefghijklmnop"
END: Final = "<|endoftext|>"
PROMPT_TOKENS: Final = (2, 7)


class Shape(NamedTuple):
    """Of all networks."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    """Tokens, at most 4,096: what three letters can spell."""
    context: int


class Span(NamedTuple):
    """Response lengths of a batch, tokens: each response's is drawn from low..high."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Batch:
    """The prompts of one step and how long their responses become."""

    number: int
    prompts: list[list[int]]
    lengths: list[int]

    @property
    def tokens(self) -> int:
        """Response tokens, if none ends early."""
        return sum(self.lengths)


def write_networks(folder: Path, shape: Shape) -> None:
    """Writes `policy` and `reward-model`, GPT-2 with random weights and its usual dropout of 0.1.

    The paper's policy comes with that dropout; abcrl switches it off, the paper's code does not.
    """
    tokenizer = _tokenizer(shape)
    options = {
        "vocab_size": shape.vocabulary,
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_positions": shape.context,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    labels = {
        "id2label": {0: "negative", 1: "positive"},
        "label2id": {"negative": 0, "positive": 1},
    }
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**options)).save_pretrained(folder / "policy")
    GPT2ForSequenceClassification(GPT2Config(**options, **labels)).save_pretrained(
        folder / "reward-model"
    )
    for name in ("policy", "reward-model"):
        tokenizer.save_pretrained(folder / name)


def make_batch(number: int, span: Span, *, size: int, vocabulary: int) -> Batch:
    """Returns batch `number` of the endless sequence that all sides run."""
    draw = random.Random(number)
    prompts = [
        [draw.randrange(1, vocabulary) for _ in range(draw.randint(*PROMPT_TOKENS))]
        for _ in range(size)
    ]
    return Batch(number, prompts, [draw.randint(*span) for _ in range(size)])


def _tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    words = ("".join(letters) for letters in itertools.product(LETTERS, repeat=3))
    spelt = [END, *itertools.islice(words, 1, shape.vocabulary)]
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(spelt)}, unk_token=END)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{LETTERS}]{{3}}"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=shape.context,
    )
