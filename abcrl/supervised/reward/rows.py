"""What a reward model reads, row by row, and what it says of it: scores, and where credit falls."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.analysis.quality.credit_spread import CreditSpread, credit_spread
from abcrl.config import RewardModelSettings
from abcrl.data import Example
from abcrl.densification import Evidence, assign_credit
from abcrl.models import (
    PromptedResponse,
    PromptedText,
    PromptWriter,
    RewardModel,
    bos_prefix,
    make_render,
    punctuation_ids,
    splice_responses,
)

_BATCH = 64


class ReadRow(NamedTuple):
    """One text as the reward model reads it."""

    ids: list[int]
    places: list[int]
    """Indices of the response's tokens, EOS included; of a plain text all but BOS."""


class RowReader:
    """Knows which of the tokens that are read are the response's."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: RewardModelSettings) -> None:
        """Takes the reward model's tokenizer and its templates.

        Raises:
            InputError: A template cannot be used.
        """
        self._tokenizer = tokenizer
        self._writer = PromptWriter(tokenizer, config.data.template)
        self._prefix = len(bos_prefix(tokenizer))
        self._splice = None
        if config.template is not None:
            render = make_render(config.template, tokenizer, "template")
            self._splice = partial(splice_responses, tokenizer, tokenizer, render=render)

    def locate(self, row: PromptedText, response: str) -> ReadRow:
        """Returns a row with the places of its response.

        Args:
            row: A whole text or response, as `readable_texts` has it.
            response: What it was made from.
        """
        if self._splice is None:
            first = max(row.start, self._prefix)
            return ReadRow(row.ids, list(range(first, len(row.ids))))
        # Of a template's own EOS behind the response the first is the response's.
        end = row.start + len(self._writer.response_ids(response)) - 1
        eos = row.ids.index(self._tokenizer.eos_token_id, end)
        return ReadRow(row.ids, [*range(row.start, end), eos])

    def begin(self, row: PromptedText, example: Example, tokens: int) -> list[int]:
        """Returns what is read of a response that has gone no further than its first tokens.

        Args:
            row: The whole response behind its prompt, or a plain text, of which BOS counts too.
            example: What it was made from.
            tokens: As many of them, or all.
        """
        if self._splice is None:
            return row.ids[: row.start + tokens]
        response_ids = self._writer.response_ids(example.text)[:tokens]
        response = PromptedResponse([], response_ids, example.prompt)
        ids, mask, _ = self._splice([response], width=len(response_ids))
        return list(ids[0][mask[0]].tolist())

    def without_eos(self, row: PromptedText, example: Example) -> list[int]:
        """Returns what is read of a response that was cut just before its end.

        The same as of the whole one where a template puts an EOS behind every response.

        Args:
            row: The whole response behind its prompt, or a whole text; EOS is the last token.
            example: What it was made from.
        """
        if self._splice is None:
            return row.ids[:-1] or row.ids
        tokens = len(self._writer.response_ids(example.text)) - 1
        return self.begin(row, example, max(tokens, 1))


def pad_rows(rows: Sequence[list[int]]) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """Returns ids, padded on the right, and which of them are real."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]


def score_rows(
    reward_model: RewardModel, rows: Sequence[list[int]], *, with_attention: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Returns scores [N] and the scored position's attention [N, T], on the CPU."""
    ids, mask = pad_rows(rows)
    scores, attention = [], []
    device = reward_model.model.device
    batches = zip(torch.split(ids, _BATCH), torch.split(mask, _BATCH), strict=True)
    for batch, batch_mask in batches:
        output = reward_model.score(
            batch.to(device), batch_mask.to(device), with_attention=with_attention
        )
        scores.append(output.scores.cpu())
        if output.attention is not None:
            attention.append(output.attention.cpu())
    return torch.cat(scores), torch.cat(attention) if attention else None


def score_by_length(reward_model: RewardModel, rows: Sequence[list[int]]) -> Tensor:
    """Returns scores [N] on the CPU, with little padding where lengths differ much."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    scores = torch.empty(len(rows))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        scores[batch], _ = score_rows(reward_model, [rows[row] for row in batch])
    return scores


def spread_of_credit(
    reward_model: RewardModel,
    rows: Sequence[ReadRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    causal: Sequence[Sequence[bool]] | None = None,
) -> CreditSpread:
    """Returns how ABC credit spreads over the responses' tokens.

    Args:
        reward_model: The reward model.
        rows: At least one.
        tokenizer: Its tokenizer.
        causal: Of each row, which of the response's tokens truly decide; None where that is not
            known.

    Raises:
        CaptureError: Its attention cannot be captured.
    """
    _, attention = score_rows(reward_model, [row.ids for row in rows], with_attention=True)
    assert attention is not None  # it was asked for
    places, mask = pad_rows([row.places for row in rows])
    ids, _ = pad_rows([row.ids for row in rows])
    punctuation = torch.tensor(punctuation_ids(tokenizer), dtype=torch.long)
    decisive = None
    if causal is not None:
        decisive = torch.zeros_like(mask)
        for row, tokens in enumerate(causal):
            known = torch.tensor(tokens[: mask.shape[1]], dtype=torch.bool)
            decisive[row, : len(known)] = known
        decisive &= mask
    seen = attention.gather(1, places)
    weights, _ = assign_credit("abc", Evidence(mask, reward_attention=seen))
    is_punctuation = torch.isin(ids.gather(1, places), punctuation) & mask
    return credit_spread(weights, mask, punctuation=is_punctuation, causal=decisive)


def spaced(count: int, total: int) -> list[int]:
    """Returns at most `count` of `total` positions, evenly spaced: a source may be sorted."""
    return (
        [number * total // count for number in range(count)] if count < total else [*range(total)]
    )
