"""How a reward model with another tokenizer reads a response, and what its tokens overlap.

The reward model reads text: the prompt in its own words, the response, and what its template puts
around them. Each of its tokens covers some bytes of that text, each of the policy's response tokens
too (`byte_spans`), and the overlap of the two carries attention from the one to the other
(`abcrl.densification.transfer`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError

from .byte_spans import DecodedResponse, decode_response, own_bytes
from .tokenizers import bos_prefix, without_special

Span = tuple[int, int]

_NOWHERE: Final[Span] = (-1, -1)
"""The span of BOS and EOS that are put around a text: not in it."""


@dataclass(frozen=True)
class RewardText:
    """What the reward model is to read, and where in it the response stands.

    Attributes:
        text: Prompt, response, and the reward model's template.
        start: Character of `text` at which the response begins; a chat template may have taken the
            white space off both its ends.
        stop: Character after its last one.
        rendered: Whether a chat template has written `text` with its special tokens. They are then
            read as such, outside of the response, and none are added. Otherwise all is plain text;
            BOS is added where the tokenizer begins with one, EOS where the response ends with one.
    """

    text: str
    start: int
    stop: int
    rendered: bool = False


class Reading(NamedTuple):
    """What the reward model reads: its ids, and what each of them covers.

    Attributes:
        ids: Of the reward model's vocabulary.
        spans: UTF-8 bytes, counted from where the response begins; negative before it.
        eos: Index of the EOS that ends the response, if there is one.
    """

    ids: list[int]
    spans: list[Span]
    eos: int | None


class RewardInputs(NamedTuple):
    """A batch for the reward model, right-padded, and what its tokens share with the responses."""

    input_ids: Int[Tensor, "B S"]
    attention_mask: Bool[Tensor, "B S"]
    overlap: Float32[Tensor, "B S R"]


Render = Callable[[str, str], RewardText]
"""(prompt, response) -> what the reward model reads."""


def continue_prompt(prompt: str, response: str) -> RewardText:
    """Returns the response right behind the prompt, without a template."""
    return RewardText(prompt + response, len(prompt), len(prompt) + len(response))


def read_responses(
    policy_tokenizer: PreTrainedTokenizerBase,
    reward_tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[list[int], list[int]]],
    *,
    width: int,
    render: Render = continue_prompt,
) -> RewardInputs:
    """Returns what the reward model reads of each response, on the CPU.

    Args:
        policy_tokenizer: Of the ids.
        reward_tokenizer: The reward model's.
        rows: Prompt ids and response ids, without padding.
        width: R, columns of the response window; response tokens stand in the first ones.
        render: How the reward model wants prompt and response.

    Raises:
        InputError: A tokenizer does not tell where its tokens stand, or `render` does not hold the
            response where it says.
    """
    decoded = [decode_response(policy_tokenizer, *row) for row in rows]
    readings = [
        read_response(reward_tokenizer, render(row.prompt, row.text), row) for row in decoded
    ]
    B, S = len(rows), max(len(reading.ids) for reading in readings)
    input_ids = torch.zeros(B, S, dtype=torch.long)
    attention_mask = torch.zeros(B, S, dtype=torch.bool)
    overlap = torch.zeros(B, S, width)
    for b, (row, reading) in enumerate(zip(decoded, readings, strict=True)):
        length = len(reading.ids)
        input_ids[b, :length] = torch.tensor(reading.ids)
        attention_mask[b, :length] = True
        overlap[b, :length, : len(row.edges) - 1] = byte_overlap(row, reading)
    return RewardInputs(input_ids, attention_mask, overlap)


def read_response(
    tokenizer: PreTrainedTokenizerBase, text: RewardText, response: DecodedResponse
) -> Reading:
    """Returns the ids that a reward model reads and where each stands.

    Raises:
        InputError: The tokenizer knows no offsets, or the response is not where `text` says.
    """
    _require_readable(tokenizer, text, response)
    ids, offsets = _encode(tokenizer, text)
    spans = _byte_spans(text.text, offsets, own_bytes(tokenizer, ids))
    spans = _from_response(spans, text, response)
    if text.rendered:
        behind = (
            index
            for index, (token, offset) in enumerate(zip(ids, offsets, strict=True))
            if token == tokenizer.eos_token_id and offset[0] >= text.stop
        )
        return Reading(ids, spans, next(behind, None) if response.ended else None)
    before, after = bos_prefix(tokenizer), [tokenizer.eos_token_id] if response.ended else []
    around = [*before, *ids, *after]
    if not around:  # a text of nothing that the tokenizer knows; a score needs something to read
        return Reading([tokenizer.eos_token_id], [_NOWHERE], None)
    spans = [_NOWHERE] * len(before) + spans + [_NOWHERE] * len(after)
    return Reading(around, spans, len(around) - 1 if response.ended else None)


def byte_overlap(response: DecodedResponse, reading: Reading) -> Float32[Tensor, "S R"]:
    """Returns the bytes that each of the reward model's tokens shares with each response token.

    A token inside of the response that covers none of its bytes (it stands for nothing, or for what
    the tokenizer has removed) belongs to the response token that holds the byte before it. The EOS
    that ends the response belongs to the response's EOS. A token that covers bytes of prompt or
    template beside the response's counts with the latter alone.
    """
    edges = torch.tensor(response.edges, dtype=torch.float64)
    starts, stops = torch.tensor(reading.spans, dtype=torch.float64).reshape(-1, 2).T[:, :, None]
    shared = torch.minimum(stops, edges[1:]) - torch.maximum(starts, edges[:-1])
    before = (edges[:-1] < stops) & (stops <= edges[1:]) & (starts == stops)
    overlap = torch.where(before, 1.0, shared.clamp(min=0)).float()
    if reading.eos is not None:
        overlap[reading.eos, -1] = 1
    return overlap


def _from_response(spans: list[Span], text: RewardText, response: DecodedResponse) -> list[Span]:
    """Returns bytes of the text as bytes of the response, both ends of which it may lack."""
    whole, kept = response.text, text.text[text.start : text.stop]
    begin = len(text.text[: text.start].encode())
    end = begin + len(kept.encode())
    lead = len(whole.encode()) - len(whole.lstrip().encode()) if kept != whole else 0
    trail = len(whole.encode()) - lead - len(kept.encode())

    def shifted(place: int, *, past_begin: bool, past_end: bool) -> int:
        return place - begin + lead * past_begin + trail * past_end

    moved = []
    for start, stop in spans:
        last = shifted(stop, past_begin=begin < stop, past_end=end < stop)
        first = shifted(start, past_begin=begin <= start, past_end=end <= start)
        moved.append((first if start < stop else last, last))
    return moved


def _require_readable(
    tokenizer: PreTrainedTokenizerBase, text: RewardText, response: DecodedResponse
) -> None:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"reward_model: must have a fast tokenizer, which tells where its tokens stand in the "
            f"text, received {type(tokenizer).__name__}; save a tokenizer.json beside the model"
        )
    received = text.text[text.start : text.stop]
    if received != response.text and not (text.rendered and received == response.text.strip()):
        raise InputError(
            f"reward_model: its template must hold the response unchanged at characters "
            f"{text.start} to {text.stop}, received {received[:40]!r} for {response.text[:40]!r}; "
            f"do not cut or escape it"
        )


def _encode(tokenizer: PreTrainedTokenizerBase, text: RewardText) -> tuple[list[int], list[Span]]:
    """Returns the ids of a text and the characters that each comes from, BOS and EOS not added."""
    if not text.rendered:
        return _encode_part(tokenizer, text.text, as_words=True)
    ids, offsets = _encode_part(tokenizer, text.text, as_words=False)
    inside = [
        (token, text.text[start:stop])
        for token, (start, stop) in zip(ids, offsets, strict=True)
        if start < text.stop and text.start < stop
    ]
    special = set(tokenizer.all_special_ids)
    # Spelled out, that is: <unk> stands for other words too.
    if not any(
        each in special and str(tokenizer.decode([each])) in words for each, words in inside
    ):
        return ids, offsets
    # A policy must not be able to close its own turn by writing so. Read in parts, its words stay
    # words; they no longer merge with the template's.
    ids, offsets = [], []
    for start, stop, as_words in (
        (0, text.start, False),
        (text.start, text.stop, True),
        (text.stop, len(text.text), False),
    ):
        part_ids, spans = _encode_part(tokenizer, text.text[start:stop], as_words=as_words)
        ids += part_ids
        offsets += [(start + first, start + last) for first, last in spans]
    return ids, offsets


def _encode_part(
    tokenizer: PreTrainedTokenizerBase, text: str, *, as_words: bool
) -> tuple[list[int], list[Span]]:
    """Returns ids and characters; `as_words` where special tokens spelled out stay text."""
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=as_words,
        return_offsets_mapping=True,
        verbose=False,
    )
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if as_words:
        [ids] = without_special(tokenizer, [ids])
    return ids, offsets


def _byte_spans(text: str, offsets: list[Span], pieces: list[bytes]) -> list[Span]:
    """Returns the bytes of the text that each token covers.

    Args:
        text: What was encoded.
        offsets: The characters that each token comes from. They refer to the text as it was before
            the tokenizer normalised it, name the whole of a character that several tokens share,
            and leave out spaces in some tokenizers.
        pieces: The tokens' own bytes where they are known. They tell more than the offsets, where
            they stand in the text at that place: the tokenizer has changed nothing there.
    """
    data = text.encode()
    byte_at = [0, *accumulate(len(letter.encode()) for letter in text)]
    letter_of = [place for place, letter in enumerate(text) for _ in letter.encode()]
    spans, at = [], 0
    for (first, last), piece in zip(offsets, pieces, strict=True):
        start, stop = byte_at[first], byte_at[last]
        end = at + len(piece)
        stands_there = piece and data[at:end] == piece
        # Equal bytes may yet be others than those that the token was made from.
        if stands_there and letter_of[at] <= first and last <= letter_of[end - 1] + 1:
            start, stop = at, end
        spans.append((start, stop))
        at = max(at, stop)
    return spans
