"""The head of a reward model, and how what it puts out becomes a score."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from abcrl.config import InputError

from .labels import positive_index


@dataclass(frozen=True)
class ScoreHead:
    """Hidden states in, scores out.

    Attributes:
        module: Puts out one number or two logits.
        positive: Index of the logit that raises the score; None: one number, the score itself.
    """

    module: nn.Module
    positive: int | None

    def __call__(self, hidden: Float[Tensor, "*B d"]) -> Float[Tensor, "*B"]:
        """Returns a score for each position, float32: logit(positive) - logit(other)."""
        outputs = self.module(hidden).float()
        if self.positive is None:
            score: Tensor = outputs[..., 0]
        else:
            score = outputs[..., self.positive] - outputs[..., 1 - self.positive]
        return score


def head_of(model: PreTrainedModel, positive_label: str | int | None) -> ScoreHead:
    """Returns the head of a reward model of either kind.

    A backbone with a value head has it in `v_head`; a sequence classifier that reads its last token
    (transformers' decoders do) has it in `score`. Encoders call theirs otherwise, and pool.

    Args:
        model: The reward model.
        positive_label: Which of two labels is the good one; see `positive_index`.

    Raises:
        InputError: There is no such head, it has neither one nor two labels, or the label does not
            belong to it.
    """
    value_head = getattr(model, "v_head", None)
    head = getattr(model, "score", None) if value_head is None else value_head
    labels = model.config.num_labels if value_head is None else 1
    if (
        not isinstance(head, nn.Module)
        or labels not in (1, 2)
        or getattr(model.config, "is_encoder_decoder", False)
    ):
        raise InputError(
            f"reward_model: must be a decoder with a v_head, or a sequence classifier with one or "
            f"two labels and a head named score, received {type(model).__name__} with {labels} "
            f"labels; train one with abcrl train-rm"
        )
    if labels == 2:
        id2label: Any = model.config.id2label
        return ScoreHead(head, positive_index(id2label, positive_label))
    if positive_label is not None:
        raise InputError(
            f"score.positive_label: must be left out for a reward model that puts out one number, "
            f"which is the score, received {positive_label!r}; remove it"
        )
    return ScoreHead(head, None)
