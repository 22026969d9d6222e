"""What the reward model says of sampled responses: scores, and the evidence that it leaves."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError, RunFailedError
from abcrl.config.reward import EvidenceConfig, ReadingConfig
from abcrl.densification import transfer
from abcrl.models import (
    RewardInputs,
    RewardModel,
    context_length,
    disable_dropout,
    embedding_rows,
    load_reward_model,
    make_render,
    read_responses,
    shares_ids,
)

from .responses import Responses


class Scored(NamedTuple):
    """Scores of responses and, as far as asked for, what the reward model looked at."""

    scores: Float[Tensor, " B"]
    reward_attention: Float[Tensor, "B R"] | None = None
    """Of the scored position, to the response tokens."""
    dropped_share: Float[Tensor, " B"] | None = None
    """0 to 1: the part of that position's attention that lies on prompt, BOS or template."""
    prefix_scores: Float[Tensor, "B R+1"] | None = None
    """The score before each response token, and after the last column."""


ReadResponses = Callable[..., RewardInputs]
"""`(prompt ids and response ids of each row, *, width=R)` -> what the reward model reads."""


class _Reading(NamedTuple):
    """What the reward model reads; the overlap where its tokens are not the policy's."""

    input_ids: Int[Tensor, "B S"]
    attention_mask: Bool[Tensor, "B S"]
    overlap: Float[Tensor, "B S R"] | None


@dataclass(frozen=True)
class Scorer:
    """The reward model as responses meet it.

    Attributes:
        reward_model: The frozen reward model.
        read: What it reads of responses; None where it reads the policy's own ids.
    """

    reward_model: RewardModel
    read: ReadResponses | None = None

    def score(self, responses: Responses, wanted: frozenset[str] = frozenset()) -> Scored:
        """Returns the scores and those of the `Evidence` fields wanted that the model gives.

        A reward model that shares the policy's tokenizer gets the ids, never a decoded and
        re-encoded text. Another one reads the text, and its attention comes back by byte overlap.

        Raises:
            RunFailedError: A score is not finite, or a text is longer than the model can read.
            InputError: A tokenizer does not tell where its tokens stand.
        """
        reading = self._read(responses)
        output = self.reward_model.score(
            reading.input_ids,
            reading.attention_mask,
            with_attention="reward_attention" in wanted,
            with_prefixes="prefix_scores" in wanted,
        )
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
        return Scored(output.scores, attention, dropped, prefix_scores)

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
            return _Reading(responses.sequences, responses.attention_mask, None)
        rows = [responses.ids_of(row) for row in range(len(responses.sequences))]
        inputs = self.read(rows, width=responses.response_width)
        context, longest = context_length(self.reward_model.model), inputs.input_ids.shape[1]
        if context is not None and longest > context:
            raise RunFailedError(
                f"a response is {longest} tokens long to the reward model, with all that is around "
                f"it, which reads at most {context}; lower response.cap_high or prompt.max_tokens"
            )
        device = responses.sequences.device
        return _Reading(*(tensor.to(device) for tensor in inputs))


def load_scorer(
    reference: str,
    tokenizer: PreTrainedTokenizerBase,
    evidence: EvidenceConfig,
    reading: ReadingConfig,
) -> Scorer:
    """Returns the reward model, without dropout, and how it reads responses of a policy.

    Args:
        reference: Local folder or Hub id of the reward model.
        tokenizer: The policy's.
        evidence: Which layer and heads are looked at.
        reading: What the reward model reads, and which of its labels is positive.

    Raises:
        InputError: It cannot be loaded, or not be used with that tokenizer.
    """
    reward_model, own_tokenizer = load_reward_model(
        reference,
        "reward_model",
        positive_label=reading.positive_label,
        layer=evidence.layer,
        heads=evidence.heads,
    )
    disable_dropout(reward_model.model)
    if reading.template is None and shares_ids(tokenizer, own_tokenizer):
        return Scorer(reward_model)
    largest = max(own_tokenizer.get_vocab().values())
    if embedding_rows(reward_model.model) <= largest:
        raise InputError(
            f"reward_model: must read every id of its own tokenizer, received "
            f"{embedding_rows(reward_model.model)} embeddings for ids up to {largest}; save the "
            f"tokenizer it was trained with beside it"
        )
    render = make_render(reading.template, own_tokenizer)
    return Scorer(reward_model, partial(read_responses, tokenizer, own_tokenizer, render=render))


def _require_finite(scores: Float[Tensor, " B"]) -> None:
    finite = torch.isfinite(scores)
    if not finite.all():
        row = int((~finite).int().argmax())
        raise RunFailedError(
            f"score of response {row} is {scores[row].item()}; the reward model must give "
            f"finite scores"
        )
