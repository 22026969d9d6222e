"""Texts read as responses: what measures credit without a policy that writes any."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.data import Example
from abcrl.models import bos_prefix, encode_batch, tokens_in_spans
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.scoring.scorer import Scorer

Spans = Callable[[str], list[tuple[int, int]]]


class ReadTexts(NamedTuple):
    """Texts as prompts of one token and the responses that follow it."""

    examples: Sequence[Example]
    ids: list[list[int]]
    """BOS where the tokenizer begins with it, the text, EOS unless the text was cut."""
    prefix: int
    """Tokens before the text: 1 with BOS, else 0. The first token is the prompt in any case."""
    eos_token_id: int

    @property
    def shortened(self) -> int:
        """Number of texts of which only the beginning is read."""
        return sum(ids[-1] != self.eos_token_id for ids in self.ids)

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[slice, Responses]]:
        """Yields the texts in their order, and which they are."""
        for start in range(0, len(self.ids), size):
            rows = slice(start, min(start + size, len(self.ids)))
            yield rows, as_responses(self.ids[rows], device)

    def tokens_on(self, spans: Spans, tokenizer: PreTrainedTokenizerBase) -> list[list[bool]]:
        """Returns for each response token of each text whether it is in one of the text's spans."""
        marked = []
        for example, ids in zip(self.examples, self.ids, strict=True):
            inside = tokens_in_spans(tokenizer, example.text, spans(example.text))
            inside = [*[False] * self.prefix, *inside, False]
            marked.append(inside[1 : len(ids)])
        return marked


def read_texts(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> ReadTexts:
    """Returns texts in a tokenizer's tokens, at most `max_length` of them each.

    Texts that the tokenizer has fewer than two tokens for, EOS included, are left out: one is the
    prompt.

    Raises:
        InputError: Fewer than two texts are left.
    """
    prefix = bos_prefix(tokenizer)
    plain = encode_batch(tokenizer, [example.text for example in examples])
    whole = [[*prefix, *ids, tokenizer.eos_token_id] for ids in plain]
    kept = [row for row, ids in enumerate(plain) if ids]
    if len(kept) < 2:
        raise InputError(
            f"data.source: must hold at least two held-out texts that the tokenizer has tokens "
            f"for, received {len(kept)} of {len(examples)}; give more texts with --dataset"
        )
    return ReadTexts(
        [examples[row] for row in kept],
        [whole[row][:max_length] for row in kept],
        len(prefix),
        int(tokenizer.eos_token_id),
    )


def fit_texts(texts: ReadTexts, scorer: Scorer, device: torch.device) -> ReadTexts:
    """Returns the texts, their ends cut off where the reward model would not read their beginnings.

    Credit and drops of tokens that it does not see would be 0 together, and look like agreement.
    """
    rows = [list(ids) for ids in texts.ids]
    pending = list(range(len(rows)))
    while pending:
        cut = scorer.cuts(as_responses([rows[row] for row in pending], device)).tolist()
        too_long = [row for row, is_cut in zip(pending, cut, strict=True) if is_cut]
        pending = [row for row in too_long if len(rows[row]) > 2]
        for row in pending:
            rows[row] = rows[row][: max(2, len(rows[row]) * 15 // 16)]
    return texts._replace(ids=rows)


def as_responses(rows: Sequence[Sequence[int]], device: torch.device) -> Responses:
    """Returns rows of one token and more: the first is the prompt, the rest the response."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in rows])
    mask = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    mask = mask.to(device)
    return Responses(ids.to(device), mask, mask[:, 1:])


def as_mask(rows: Sequence[Sequence[bool]], width: int) -> Bool[Tensor, "B R"]:
    """Returns rows of any lengths as one tensor, False where they have ended."""
    return torch.tensor([[*row, *[False] * (width - len(row))] for row in rows])
