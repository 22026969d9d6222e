"""The head of a reward model, and how what it puts out becomes a score."""

import copy
import math
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
        offset: Subtracted from every score: the model's zero, in its own units.
    """

    module: nn.Module
    positive: int | None
    offset: float = 0.0

    def __call__(self, hidden: Float[Tensor, "*B d"]) -> Float[Tensor, "*B"]:
        """Returns a score for each position, float32: logit(positive) - logit(other) - offset."""
        outputs = self.module(hidden).float()
        if self.positive is None:
            score: Tensor = outputs[..., 0]
        else:
            score = outputs[..., self.positive] - outputs[..., 1 - self.positive]
        return score - self.offset

    def as_one_layer(self) -> nn.Module:
        """Returns a new layer that says the score itself, what is subtracted in its bias.

        It has a bias where the head has one or there is an offset.
        """
        if self.positive is None and not self.offset:
            return copy.deepcopy(self.module)
        leaves = {name: leaf.detach().clone() for name, leaf in self.module.state_dict().items()}
        if self.positive is not None:
            good = slice(self.positive, self.positive + 1)
            other = slice(1 - self.positive, 2 - self.positive)
            leaves = {name: leaf[good] - leaf[other] for name, leaf in leaves.items()}
        weight = leaves["weight"]
        if self.offset:
            leaves["bias"] = leaves.get("bias", weight.new_zeros(1)) - self.offset
        # On meta first: nn.Linear would draw its weights from the global generator.
        layer = nn.Linear(weight.shape[1], 1, bias="bias" in leaves, device="meta")
        layer.load_state_dict(leaves, assign=True)
        return layer


def head_of(model: PreTrainedModel, positive_label: str | int | None) -> ScoreHead:
    """Returns the head of a reward model of either kind.

    A backbone with a value head has it in `v_head`; a sequence classifier that reads its last token
    (transformers' decoders do) has it in `score`, and its offset, if any, as `score_offset` in its
    configuration. Encoders call theirs otherwise, and pool.

    Args:
        model: The reward model.
        positive_label: Which of two labels is the good one; see `positive_index`.

    Raises:
        InputError: There is no such head, it has neither one nor two labels, the label does not
            belong to it, or the offset is no number.
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
    offset = 0.0 if value_head is not None else _offset(model)
    if labels == 2:
        id2label: Any = model.config.id2label
        return ScoreHead(head, positive_index(id2label, positive_label), offset)
    if positive_label is not None:
        raise InputError(
            f"score.positive_label: must be left out for a reward model that puts out one number, "
            f"which is the score, received {positive_label!r}; remove it"
        )
    return ScoreHead(head, None, offset)


def _offset(classifier: PreTrainedModel) -> float:
    offset = getattr(classifier.config, "score_offset", 0.0)
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not math.isfinite(offset):
        raise InputError(
            f"reward_model: score_offset in its config.json must be a finite number, received "
            f"{offset!r}; mend or remove it"
        )
    return float(offset)
