"""The reward model: one score per sequence and, when asked, the attention it was read with."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from abcrl.config import InputError

from .attention import capture_attention
from .positions import last_positions, position_ids


class RewardOutput(NamedTuple):
    """Scores, and the attention row of the position that each score is read from."""

    scores: Float[Tensor, " B"]
    attention: Float[Tensor, "B T"] | None


class RewardModel:
    """A sequence classifier read as a reward model.

    Two labels: score = logit(positive) - logit(negative), positive being label 1. One label: its
    logit. The score is read at the last real token according to the mask, never where a padding
    id is found, and the attention row is the row of that same position.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Wraps a loaded classifier and puts it into eval mode.

        Raises:
            InputError: It has neither one nor two labels, or no linear head named `score`.
        """
        labels = model.config.num_labels
        head = getattr(model, "score", None)
        if labels not in (1, 2) or not isinstance(head, nn.Module):
            raise InputError(
                f"reward_model: must be a sequence classifier with one or two labels and a head "
                f"named score, received {type(model).__name__} with {labels} labels; train one "
                f"with abcrl train-rm"
            )
        self.model = model.eval()
        self._head = head

    @torch.inference_mode()
    def score(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        *,
        with_attention: bool,
    ) -> RewardOutput:
        """Returns the score of each sequence, float32.

        Args:
            input_ids: Token ids of the reward model's own vocabulary, padded on any side.
            attention_mask: True where a token is real.
            with_attention: Also capture the last layer's attention row of the scored position,
                mean over heads, not normalised over anything but the whole sequence.
        """
        scored = last_positions(attention_mask)
        if not with_attention:
            return RewardOutput(self._score_at(input_ids, attention_mask, scored), None)
        with capture_attention(self.model, scored[:, None]) as capture:
            scores = self._score_at(input_ids, attention_mask, scored)
        return RewardOutput(scores, capture.result()[:, 0])

    def _score_at(
        self, input_ids: Tensor, attention_mask: Tensor, scored: Int[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        # The backbone, then the head at one position: the classifier's own forward would look for
        # that position by padding id.
        hidden = self.model.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask.long(),
            position_ids=position_ids(attention_mask),
            use_cache=False,
        ).last_hidden_state
        rows = torch.arange(len(scored), device=scored.device)
        logits = self._head(hidden[rows, scored]).float()
        score: Tensor = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        return score
