"""The tokens that a reward model with a template or another tokenizer reads of a response.

With another tokenizer it reads text: each of its tokens covers some bytes of that text, each of the
policy's response tokens too (`byte_spans`), and the overlap of the two carries attention from the
one to the other (`abcrl.densification.transfer`). With the policy's tokenizer and a template it
reads the response's ids as they were generated, between what the template puts around them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError
from abcrl.dialogue import PromptText

from .byte_spans import DecodedResponse, decode_response, decode_text, own_bytes
from .reward_text import Render, RewardText, Span, byte_spans_of, continue_prompt, encode_text
from .tokenizers import bos_prefix, encode_plain

_NOWHERE: Final[Span] = (-1, -1)
"""The span of BOS and EOS that are put around a text: not in it."""


class RewardTokens(NamedTuple):
    """The tokens that the reward model reads, and what each of them covers.

    Attributes:
        ids: Of the reward model's vocabulary.
        spans: UTF-8 bytes of the response. Of a token that covers bytes beside the response's too,
            the latter; of one that lies outside, places before 0 or behind the last byte.
        eos: Index of the EOS that ends the response, if there is one.
    """

    ids: list[int]
    spans: list[Span]
    eos: int | None


class PromptedResponse(NamedTuple):
    """One response on its way to a reward model.

    Attributes:
        prompt_ids: What it answers, without padding.
        response_ids: As generated, without padding.
        said: What the prompt was written from, for the reward model's template; None: the text of
            `prompt_ids`.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    said: PromptText | None = None


class RewardInputs(NamedTuple):
    """A batch for the reward model, right-padded, and what its tokens share with the responses."""

    input_ids: Int[Tensor, "B S"]
    attention_mask: Bool[Tensor, "B S"]
    overlap: Float32[Tensor, "B S R"]


def read_responses(
    policy_tokenizer: PreTrainedTokenizerBase,
    reward_tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[PromptedResponse],
    *,
    width: int,
    render: Render = continue_prompt,
) -> RewardInputs:
    """Returns what a reward model with another tokenizer reads of each response, on the CPU.

    Args:
        policy_tokenizer: Of the ids.
        reward_tokenizer: The reward model's.
        rows: The responses.
        width: R, columns of the response window; response tokens stand in the first ones.
        render: How the reward model wants prompt and response.

    Raises:
        InputError: A tokenizer does not tell where its tokens stand, or `render` does not hold the
            response where it says.
    """
    pairs = []
    for prompt_ids, response_ids, said in rows:
        response = decode_response(policy_tokenizer, prompt_ids, response_ids)
        text = render(response.prompt if said is None else said, response.text)
        tokens = read_response(reward_tokenizer, text, response)
        pairs.append((tokens.ids, byte_overlap(response, tokens)))
    return _as_batch(pairs, width)


def splice_responses(
    policy_tokenizer: PreTrainedTokenizerBase,
    reward_tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[PromptedResponse],
    *,
    width: int,
    render: Render,
) -> RewardInputs:
    """Returns what a reward model reads that has the policy's ids and a template, on the CPU.

    The response's ids stand between the template's as they were generated, and the prompt as text.
    No id of the response is left out: a template that takes white space off takes none here. The
    overlap is 1 where a token is a response token, else 0.

    Args:
        policy_tokenizer: Of the ids.
        reward_tokenizer: The reward model's, in which the policy's ids mean the same.
        rows: The responses.
        width: R, columns of the response window; response tokens stand in the first ones.
        render: How the reward model wants prompt and response.
    """
    pairs = []
    for prompt_ids, response_ids, said in rows:
        prompt = decode_text(policy_tokenizer, prompt_ids) if said is None else said
        around = surroundings(policy_tokenizer, render, prompt, response_ids)
        ended = response_ids[-1:] == [policy_tokenizer.eos_token_id]
        ids, places = splice_response(reward_tokenizer, around, response_ids, ended=ended)
        overlap = torch.zeros(len(ids), len(response_ids))
        overlap[places, range(len(response_ids))] = 1
        pairs.append((ids, overlap))
    return _as_batch(pairs, width)


def read_response(
    tokenizer: PreTrainedTokenizerBase, text: RewardText, response: DecodedResponse
) -> RewardTokens:
    """Returns the ids that a reward model reads and where each stands.

    A response that ended has its EOS where `splice_response` has it.

    Raises:
        InputError: The tokenizer knows no offsets, or the response is not where `text` says.
    """
    _require_readable(tokenizer, text, response)
    ids, offsets = encode_text(tokenizer, text)
    spans = byte_spans_of(text.text, offsets, own_bytes(tokenizer, ids))
    spans = _from_response(spans, text, response)
    if text.rendered:
        if not response.ended:
            return RewardTokens(ids, spans, None)
        behind = [index for index, offset in enumerate(offsets) if offset[0] >= text.stop]
        ends = [index for index in behind if ids[index] == tokenizer.eos_token_id]
        if not ends:
            ends = [*behind[:1], len(ids)]
            ids.insert(ends[0], tokenizer.eos_token_id)
            spans.insert(ends[0], _NOWHERE)
        return RewardTokens(ids, spans, ends[0])
    before, after = bos_prefix(tokenizer), [tokenizer.eos_token_id] if response.ended else []
    around = [*before, *ids, *after]
    if not around:  # a text of nothing that the tokenizer knows; a score needs something to read
        return RewardTokens([tokenizer.eos_token_id], [_NOWHERE], None)
    spans = [_NOWHERE] * len(before) + spans + [_NOWHERE] * len(after)
    return RewardTokens(around, spans, len(around) - 1 if response.ended else None)


def splice_response(
    tokenizer: PreTrainedTokenizerBase, around: RewardText, response_ids: list[int], *, ended: bool
) -> tuple[list[int], list[int]]:
    """Returns the ids that a reward model reads, and the index of each response id among them.

    What stands before and behind the response is encoded as texts of their own. The response's EOS
    stands where `read_response` has it: the first EOS that a chat template writes behind the
    response is the response's, and not given twice; at the end of a plain text its own is added. A
    chat template that writes none has it right behind the response's other tokens.

    Args:
        tokenizer: The reward model's.
        around: What stands around the response, whose own words are not read.
        response_ids: R ids as generated, R >= 1.
        ended: Whether the last one is EOS.
    """
    before, _ = encode_text(tokenizer, around.before)
    after, _ = encode_text(tokenizer, around.after)
    if not around.rendered:
        before = [*bos_prefix(tokenizer), *before]
    body = response_ids[:-1] if ended else response_ids
    places = list(range(len(before), len(before) + len(body)))
    if ended:
        # The policy may end with another of the tokens that both know than the reward model.
        ends = {response_ids[-1], tokenizer.eos_token_id}
        written = [place for place, each in enumerate(after) if each in ends]
        if not written:
            written = [0 if around.rendered else len(after)]
            after.insert(written[0], response_ids[-1])
        places.append(len(before) + len(body) + written[0])
    return [*before, *body, *after], places


def surroundings(
    tokenizer: PreTrainedTokenizerBase,
    render: Render,
    prompt: PromptText | str,
    response_ids: list[int],
) -> RewardText:
    """Returns what stands around a response's ids, as `splice_response` wants it.

    That depends on whether they begin with white space, and on nothing else. It is what
    `read_response` has around the same words as text, special tokens included; but read as text, a
    token may reach across an end of the response (": " and "It" as ":" and " It"), a tokenizer
    begins no part with a blank of its own, and a chat template takes white space off the response's
    ends. Ids stay as the policy wrote them, and what is learnt of them is what PPO reads: a reward
    model of `train-rm` that is later used with a policy of another tokenizer can meet other tokens
    at these two places.

    Args:
        tokenizer: Of the ids.
        render: How the reward model wants prompt and response.
        prompt: What they answer.
        response_ids: As generated.
    """
    blank = first_blank(tokenizer, response_ids)
    around = render(prompt, blank)
    if not around.rendered or not blank:
        return around
    # As in a template of plain text: of white space on both sides, the response's is read.
    said = around.words[-1][1] if around.words else 0
    before = around.text[:said] + around.text[said : around.start].rstrip(" ")
    text = before + around.text[around.stop :]
    return RewardText(text, len(before), len(before), rendered=True, words=around.words)


def first_blank(tokenizer: PreTrainedTokenizerBase, response_ids: list[int]) -> str:
    """Returns the letter of white space that a response begins with behind words; "" if none."""
    # Behind a letter: at the beginning of a text some tokenizers leave it out.
    first = decode_response(tokenizer, encode_plain(tokenizer, "x"), response_ids).text[:1]
    return first if first.isspace() else ""


def byte_overlap(response: DecodedResponse, tokens: RewardTokens) -> Float32[Tensor, "S R"]:
    """Returns the bytes that each of the reward model's tokens shares with each response token.

    A token inside of the response that covers none of its bytes (it stands for nothing, or for what
    the tokenizer has removed) belongs to the response token that holds the byte before it. The EOS
    that ends the response belongs to the response's EOS. A token that covers bytes of prompt or
    template beside the response's counts with the latter alone.
    """
    edges = torch.tensor(response.edges, dtype=torch.float64)
    starts, stops = torch.tensor(tokens.spans, dtype=torch.float64).reshape(-1, 2).T[:, :, None]
    shared = torch.minimum(stops, edges[1:]) - torch.maximum(starts, edges[:-1])
    before = (edges[:-1] < stops) & (stops <= edges[1:]) & (starts == stops)
    overlap = torch.where(before, 1.0, shared.clamp(min=0)).float()
    if tokens.eos is not None:
        overlap[tokens.eos, -1] = 1
    return overlap


def _as_batch(
    pairs: Sequence[tuple[list[int], Float32[Tensor, "_ _"]]], width: int
) -> RewardInputs:
    """Returns a batch of ids and overlaps, padded on the right."""
    B, S = len(pairs), max(len(ids) for ids, _ in pairs)
    input_ids = torch.zeros(B, S, dtype=torch.long)
    attention_mask = torch.zeros(B, S, dtype=torch.bool)
    overlap = torch.zeros(B, S, width)
    for b, (ids, shared) in enumerate(pairs):
        input_ids[b, : len(ids)] = torch.tensor(ids)
        attention_mask[b, : len(ids)] = True
        overlap[b, : len(ids), : shared.shape[1]] = shared
    return RewardInputs(input_ids, attention_mask, overlap)


def _from_response(spans: list[Span], text: RewardText, response: DecodedResponse) -> list[Span]:
    """Returns bytes of the text as bytes of the response, both ends of which it may lack."""
    whole, kept = response.text, text.text[text.start : text.stop]
    begin = len(text.text[: text.start].encode())
    end = begin + len(kept.encode())
    lead = len(whole[: whole.find(kept)].encode())
    moved = []
    for start, stop in spans:
        if stop <= begin:
            moved.append((start - begin, stop - begin))
        elif start < end:
            # Cut at the ends: beyond them may be white space of the response that is not read.
            moved.append((max(start, begin) - begin + lead, min(stop, end) - begin + lead))
        else:
            behind = len(whole.encode()) - end
            moved.append((start + behind, stop + behind))
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
    if received not in response.text or received.strip() != response.text.strip():
        raise InputError(
            f"reward_model: its template must hold the response unchanged, but for white space "
            f"at its ends, at characters {text.start} to {text.stop}, received {received[:40]!r} "
            f"for {response.text[:40]!r}; do not cut or escape it"
        )
