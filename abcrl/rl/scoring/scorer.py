"""What the reward model says of sampled responses: scores, and the evidence that it leaves."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from abcrl.config import InputError, RunFailedError
from abcrl.densification import transfer
from abcrl.dialogue import PromptText
from abcrl.models import (
    PromptedResponse,
    Render,
    RewardInputs,
    RewardModel,
    RewardOutput,
    context_length,
)
from abcrl.rl.sampling.responses import Responses

from .parts import TOKENS_AT_ONCE, join_parts, split_rows


class Scored(NamedTuple):
    """Scores of responses and, as far as asked for, what the reward model looked at."""

    scores: Float[Tensor, " B"]
    reward_attention: Float[Tensor, "B R"] | None = None
    """Of the scored position, to the response tokens."""
    dropped_share: Float[Tensor, " B"] | None = None
    """0 to 1: the part of that position's attention that lies on prompt, BOS or template."""
    prefix_scores: Float[Tensor, "B R+1"] | None = None
    """The score before each response token, and after the last column."""
    cut: Bool[Tensor, " B"] | None = None
    """True where a text was longer than the reward model reads, and lost its beginning; None where
    it reads the policy's own ids."""


@runtime_checkable
class ReadResponses(Protocol):
    """How a reward model reads the text of responses."""

    def __call__(self, rows: list[PromptedResponse], *, width: int) -> RewardInputs:
        """Returns its inputs for responses; `width` is R."""
        ...


class UnreadableIds(NamedTuple):
    """Ids of the policy that the reward model cannot read, though the tokenizer is the same."""

    ids: Int[Tensor, " ids"]
    """Tokens that the policy's tokenizer has added, a pad token for example."""
    rows: int
    """Ids from here on have no embedding."""
    substitute: int
    """What is read in their place."""

    def replaced_in(self, input_ids: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """Returns the ids with the unreadable ones replaced."""
        known = (input_ids < self.rows) & ~torch.isin(input_ids, self.ids.to(input_ids.device))
        return input_ids.where(known, self.substitute)


class _Reading(NamedTuple):
    """What the reward model reads; the overlap where its tokens are not the policy's."""

    input_ids: Int[Tensor, "B S"]
    attention_mask: Bool[Tensor, "B S"]
    overlap: Float[Tensor, "B S R"] | None = None
    cut: Bool[Tensor, " B"] | None = None


@dataclass(frozen=True)
class Scorer:
    """The reward model as responses meet it.

    Attributes:
        reward_model: The frozen reward model.
        read: What it reads of responses; None where that is the policy's ids and nothing else.
        unreadable: Which of the policy's ids it cannot read; None where it reads text.
        render: How it wants prompt and response; None where `read` is.
    """

    reward_model: RewardModel
    read: ReadResponses | None = None
    unreadable: UnreadableIds | None = None
    render: Render | None = None

    def score(self, responses: Responses, wanted: frozenset[str] = frozenset()) -> Scored:
        """Returns the scores and those of the `Evidence` fields wanted that the model gives.

        A reward model that shares the policy's tokenizer gets the response's ids, never a decoded
        and re-encoded text. Another one reads the text, and its attention comes back by byte
        overlap.

        Raises:
            RunFailedError: A score is not finite.
            InputError: A tokenizer does not tell where its tokens stand.
        """
        reading = self._read(responses)
        output = _score_in_parts(self.reward_model, reading, wanted)
        _require_finite(output.scores)
        attention = dropped = prefix_scores = None
        if output.attention is not None and reading.overlap is not None:
            attention, dropped = transfer(
                output.attention, reading.overlap, responses.response_mask
            )
        elif output.attention is not None:
            attention = output.attention[:, responses.prompt_width :]
            dropped = (1 - attention.sum(-1)).clamp(0, 1)
        if output.prefix_scores is not None:
            prefix_scores = output.prefix_scores[:, responses.prompt_width - 1 :]
        return Scored(output.scores, attention, dropped, prefix_scores, reading.cut)

    def cuts(self, responses: Responses) -> Bool[Tensor, " B"]:
        """Returns which texts are longer than the reward model reads, as `Scored.cut`."""
        cut = self._read(responses).cut
        return torch.zeros_like(responses.lengths, dtype=torch.bool) if cut is None else cut

    def require_prompts(self, prompts: Iterable[PromptText]) -> None:
        """Refuses prompts that the reward model's template has no place for.

        A run that has gone on for hours should not end because one prompt has two turns.

        Raises:
            InputError: There is one.
        """
        if self.render is None:
            return
        # Whether a prompt has its place depends on who speaks, not on what is said.
        kinds = {
            (prompt.text is None, *(turn.role for turn in prompt.turns)): prompt
            for prompt in prompts
        }
        for prompt in kinds.values():
            self.render(prompt, "")

    def verify(self, responses: Responses, wanted: frozenset[str]) -> None:
        """Refuses a reward model that does not give what is wanted, asked about some responses.

        Raises:
            InputError: Its attention cannot be captured, is not what eager attention computes, or
                its scores of prefixes are not those of shorter texts.
        """
        if "prefix_scores" in wanted and self.read is not None:
            raise InputError(
                "reward.mode: must not be red with a template or a reward model that has another "
                "tokenizer than the policy: it scores every prefix in the policy's tokens; choose "
                "another mode, or train a reward model from the SFT model"
            )
        reading = self._read(responses)
        if "reward_attention" in wanted:
            self.reward_model.verify_attention(reading.input_ids, reading.attention_mask)
        if "prefix_scores" in wanted:
            self.reward_model.require_causal(reading.input_ids, reading.attention_mask)

    def _read(self, responses: Responses) -> _Reading:
        if self.read is None:
            ids = responses.sequences
            if self.unreadable is not None:
                ids = self.unreadable.replaced_in(ids)
            return _Reading(ids, responses.attention_mask)
        said = responses.said or (None,) * len(responses.sequences)
        rows = [PromptedResponse(*responses.ids_of(row), each) for row, each in enumerate(said)]
        inputs = self.read(rows, width=responses.response_width)
        inputs, cut = _fit(inputs, context_length(self.reward_model.model))
        if self.unreadable is not None:
            # What the template says is in the reward model's own words.
            theirs = inputs.overlap.sum(-1) > 0
            ids = self.unreadable.replaced_in(inputs.input_ids).where(theirs, inputs.input_ids)
            inputs = inputs._replace(input_ids=ids)
        device = responses.sequences.device
        return _Reading(*(tensor.to(device) for tensor in (*inputs, cut)))


def _score_in_parts(
    reward_model: RewardModel, reading: _Reading, wanted: frozenset[str]
) -> RewardOutput:
    """Returns what one pass over all rows gives, from as many passes as memory wants."""
    ids, mask = reading.input_ids, reading.attention_mask
    score = partial(
        reward_model.score,
        with_attention="reward_attention" in wanted,
        with_prefixes="prefix_scores" in wanted,
    )
    parts = split_rows(mask.sum(-1), TOKENS_AT_ONCE)
    if len(parts) == 1:
        return score(ids, mask)
    outputs = []
    for rows in parts:
        columns = mask[rows].any(0).nonzero()[:, 0]
        kept = slice(int(columns[0]), int(columns[-1]) + 1)
        output = score(ids[rows, kept], mask[rows, kept])
        # Every column again, so that parts can be joined wherever their texts stand.
        around = (kept.start, mask.shape[1] - kept.stop)
        whole = [None if part is None else pad(part, around) for part in output[1:]]
        outputs.append(RewardOutput(output.scores, *whole))
    joined = (
        None if pieces[0] is None else join_parts(parts, pieces, (len(ids), *pieces[0].shape[1:]))
        for pieces in zip(*outputs, strict=True)
    )
    return RewardOutput(*joined)  # type: ignore[arg-type]  # scores are always there


def _fit(inputs: RewardInputs, context: int | None) -> tuple[RewardInputs, Bool[Tensor, " B"]]:
    """Returns inputs that a model can read, of longer texts the ends, and which texts were longer.

    A run that has gone on for hours should not end because one response spells a long text.
    """
    ids, mask, overlap = inputs
    lengths = mask.sum(-1)
    longest = int(lengths.max()) if context is None else context
    excess = (lengths - longest).clamp(min=0)
    if excess.any():
        kept = excess[:, None] + torch.arange(longest)
        columns = kept[..., None].expand(-1, -1, overlap.shape[-1])
        inputs = RewardInputs(ids.gather(1, kept), mask.gather(1, kept), overlap.gather(1, columns))
    return inputs, excess > 0


def _require_finite(scores: Float[Tensor, " B"]) -> None:
    finite = torch.isfinite(scores)
    if not finite.all():
        row = int((~finite).int().argmax())
        raise RunFailedError(
            f"score of response {row} is {scores[row].item()}; the reward model must give "
            f"finite scores"
        )
