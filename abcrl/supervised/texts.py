"""Texts and pairs as token ids: what sft and train-rm learn from."""

from array import array
from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.config.template import CHAT_TEMPLATE
from abcrl.data import Example, Pair
from abcrl.data.encoded import encode_texts
from abcrl.models import PromptedText, TextReader, bos_prefix, encode_batch, tokenizer_identity
from abcrl.rl.sampling.prompts import unused_template

Features = dict[str, Any]


class Texts(Protocol):
    """What is learnt, as token ids; made when it is asked for."""

    examples: Sequence[Example]
    """What they were made from, one of each."""

    def __len__(self) -> int:
        """Number of texts."""
        ...

    def __getitem__(self, index: int) -> PromptedText:
        """Returns one of them."""
        ...


def readable_texts(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    policy_template: str | None = None,
    template: str | None = None,
) -> "Texts":
    """Returns what a model reads of each example: BOS where the tokenizer puts one, text, EOS.

    A plain text of more than `max_length` tokens is cut, and then has no EOS: it did not end. A
    response that does not fit behind its prompt is left out: cut, prompt or response would be
    another.

    Args:
        examples: Of one format, plain or with prompts.
        tokenizer: The model's.
        max_length: Tokens, prompt and response together.
        policy_template: `data.template`.
        template: A reward model's own; see `TextReader`.

    Raises:
        InputError: A template cannot be used, or no response fits.
    """
    if require_places(examples, policy_template, template) and template is None:
        return PlainTexts(examples, tokenizer, max_length)
    reader = TextReader(tokenizer, policy_template=policy_template, template=template)
    return PromptedTexts(examples, reader, max_length)


def require_places(
    rows: Sequence[Example | Pair], policy_template: str | None, template: str | None
) -> bool:
    """Refuses templates that want a prompt where rows have none; returns whether these have none.

    A whole text in the place of the response, and nothing in that of the prompt, is not what PPO
    will give the model.

    Raises:
        InputError: Names the template.
    """
    if any(row.prompt is not None for row in rows):
        return False
    if policy_template is not None:
        raise unused_template(policy_template)
    if template is not None and (template == CHAT_TEMPLATE or "{prompt}" in template):
        raise InputError(
            f"template: must hold no {{prompt}} where rows are plain texts, which have none, "
            f"received {template!r}; remove it, or name the column of the prompts in data.columns"
        )
    return True


class PlainTexts:
    """Texts without a prompt, encoded once and kept on disk."""

    def __init__(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        """Encodes them all, or finds them encoded; see `readable_texts`."""
        self.examples = examples
        self._plain = encode_texts(
            [example.text for example in examples],
            partial(encode_batch, tokenizer),
            identity=tokenizer_identity(tokenizer),
        )
        self._prefix = bos_prefix(tokenizer)
        self._eos = tokenizer.eos_token_id
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, index: int) -> PromptedText:
        ids = [*self._prefix, *self._plain[index], self._eos][: self._max_length]
        return PromptedText(ids, 0)


class PromptedTexts:
    """Responses behind their prompts, whole."""

    def __init__(self, examples: Sequence[Example], reader: TextReader, max_length: int) -> None:
        """Encodes them all; see `readable_texts`."""
        rows = reader.read([one.prompt for one in examples], [one.text for one in examples])
        fitting = [number for number, row in enumerate(rows) if len(row.ids) <= max_length]
        require_fitting(len(fitting), len(rows), max_length)
        self.examples: Sequence[Example] = [examples[number] for number in fitting]
        self.too_long = len(rows) - len(fitting)
        # Arrays, because a list of small integers takes eight bytes or more for each.
        self._rows = [(array("i", rows[number].ids), rows[number].start) for number in fitting]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> PromptedText:
        ids, start = self._rows[index]
        return PromptedText(ids.tolist(), start)


class PairTexts:
    """Both sides of pairs, whole; those that are too long or alike in tokens are left out."""

    def __init__(self, pairs: Sequence[Pair], reader: TextReader, max_length: int) -> None:
        """Encodes them all.

        Args:
            pairs: The pairs.
            reader: What the reward model reads.
            max_length: Tokens, prompt and response together.

        Raises:
            InputError: A template cannot be used, no pair fits, or all are alike in tokens.
        """
        prompts = [pair.prompt for pair in pairs]
        chosen = reader.read(prompts, [pair.chosen for pair in pairs])
        rejected = reader.read(prompts, [pair.rejected for pair in pairs])
        both = list(zip(chosen, rejected, strict=True))
        different = [number for number, (one, other) in enumerate(both) if one.ids != other.ids]
        if not different:
            raise InputError(
                f"model: its tokenizer must tell the sides of some pair apart, received "
                f"{len(pairs)} pairs whose sides have the same tokens; give a model whose "
                f"tokenizer knows what the sides are written in"
            )
        fitting = [
            number
            for number in different
            if max(len(row.ids) for row in both[number]) <= max_length
        ]
        require_fitting(len(fitting), len(different), max_length)
        self.pairs: Sequence[Pair] = [pairs[number] for number in fitting]
        self.too_long = len(different) - len(fitting)
        self.alike = len(both) - len(different)
        """Pairs whose texts differ and whose tokens do not."""
        self._rows = [
            tuple((array("i", row.ids), row.start) for row in both[number]) for number in fitting
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[PromptedText, PromptedText]:
        """Returns the chosen and the rejected side of a pair."""
        chosen, rejected = (PromptedText(ids.tolist(), start) for ids, start in self._rows[index])
        return chosen, rejected


def require_fitting(count: int, total: int, max_length: int) -> None:
    """Refuses a length at which nothing is left to learn.

    Raises:
        InputError: `count` is 0.
    """
    if not count:
        raise InputError(
            f"training.max_length: some prompt and response must fit together, none of {total} "
            f"fits {max_length} tokens; raise it"
        )


def tell_too_long(
    tell: Callable[[str], None],
    texts: "Texts | PairTexts",
    max_length: int,
    *,
    part: str = "data",
) -> None:
    """Tells what was left out once texts were tokens, and of which part of the data."""
    too_long, alike = getattr(texts, "too_long", 0), getattr(texts, "alike", 0)
    if too_long:
        tell(
            f"{part}: {too_long} rows left out, as prompt and response have more than {max_length} "
            f"tokens (training.max_length)"
        )
    if alike:
        tell(f"{part}: {alike} pairs left out, as both sides have the same tokens")


class TextDataset(Dataset[Any]):
    """Features of each text, made when they are asked for."""

    def __init__(self, texts: Sized, make: Callable[[int], Any]) -> None:
        """Takes texts and the function from the position of one to its features."""
        self._texts = texts
        self._make = make

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - what `make` makes
        return self._make(index)


def pad_right(rows: Sequence[Features], *, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Returns a right-padded batch: input_ids, attention_mask, and labels where rows have one."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [pad_token_id] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    if "label" in rows[0]:
        batch["labels"] = torch.tensor([row["label"] for row in rows])
    return batch
