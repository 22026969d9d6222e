"""The reward model: one score per sequence and, when asked, the attention it was read with."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from abcrl.config import InputError
from abcrl.models.attention.capture import capture_attention
from abcrl.models.attention.check import verify_capture
from abcrl.models.positions import last_positions, position_ids

from .head import head_of

# How far a prefix and the same tokens alone may be apart, as a share of the largest score of a
# prefix. Measured in eight architectures of 4 and 24 layers, at the scale of their initialisation
# and ten times that: 3e-6 in float32, 5e-3 in float16 (and TF32), 0.025 in bfloat16. Models whose
# attention looks ahead: 0.016 to 1.
_CAUSAL_TOLERANCE = {torch.float64: 0.01, torch.float32: 0.01, torch.float16: 0.02}
_COARSE_TOLERANCE = 0.05
_CAUSAL_ROWS = 2


class RewardOutput(NamedTuple):
    """Scores, and what was asked for beside them."""

    scores: Float[Tensor, " B"]
    attention: Float[Tensor, "B T"] | None = None
    """The attention row of the position that each score is read from."""
    prefix_scores: Float[Tensor, "B T"] | None = None
    """Column t: the score of the sequence cut after token t. 0 off the mask."""


class RewardModel:
    """A network with a head, read as a reward model.

    Two kinds: a sequence classifier, with two labels (score = logit(positive) - logit(other)) or
    one (score = its logit), and a language model's backbone with a `v_head`, whose value is the
    score. Of either, the score is read at the last real token according to the mask, never where a
    padding id is found, and the attention row is the row of that same position.

    Attributes:
        model: The network, head included; in eval mode.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        positive_label: str | int | None = None,
        layer: int = -1,
        heads: Sequence[int] | None = None,
    ) -> None:
        """Takes a loaded classifier, or a backbone that has a submodule `v_head`.

        Args:
            model: The network; it is put into eval mode.
            positive_label: Which of two labels is the good one, by name or index; None: the names
                say so, see `positive_index`.
            layer: Layer whose attention is read; negative counts from the end.
            heads: Heads to average over; None: all.

        Raises:
            InputError: It has no such head, neither one nor two labels, or labels that do not say
                which one is good.
        """
        self._head = head_of(model, positive_label)
        self._layer = layer
        self._heads = None if heads is None else tuple(heads)
        self.model = model.eval()

    @property
    def offset(self) -> float:
        """What is subtracted from every score; see `ScoreHead`."""
        return self._head.offset

    def to(self, device: torch.device) -> "RewardModel":
        """Moves the network to a device, head included, and returns itself."""
        nn.Module.to(self.model, device)
        return self

    @torch.inference_mode()
    def score(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        *,
        with_attention: bool = False,
        with_prefixes: bool = False,
    ) -> RewardOutput:
        """Returns the score of each sequence, float32, from one forward pass.

        Args:
            input_ids: Token ids of the reward model's own vocabulary, padded on any side.
            attention_mask: True where a token is real.
            with_attention: Also capture the layer's attention row of the scored position, mean over
                heads, not normalised over anything but the whole sequence.
            with_prefixes: Also run the head at every position; right for a causal model only, see
                `require_causal`.

        Raises:
            CaptureError: The architecture does not show its attention, or has no such layer or
                head.
        """
        scored = last_positions(attention_mask)
        attention = prefix_scores = None
        if with_attention:
            with capture_attention(
                self.model, scored[:, None], layer=self._layer, heads=self._heads
            ) as capture:
                hidden = _hidden_states(self.model, input_ids, attention_mask)
            attention = capture.result()[:, 0]
        else:
            hidden = _hidden_states(self.model, input_ids, attention_mask)
        if with_prefixes:
            prefix_scores = self._head(hidden).masked_fill(~attention_mask, 0.0)
        rows = torch.arange(len(scored), device=scored.device)
        return RewardOutput(self._head(hidden[rows, scored]), attention, prefix_scores)

    def verify_attention(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"]
    ) -> float:
        """Compares the attention that `score` captures with eager attention.

        Returns:
            The largest share of a row's attention that differs; see `verify_capture`.

        Raises:
            CaptureError: They differ by more than the model's number format explains.
        """
        rows = last_positions(attention_mask)[:, None]
        return verify_capture(
            self.model, input_ids, attention_mask, rows, layer=self._layer, heads=self._heads
        )

    def require_causal(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"]
    ) -> None:
        """Refuses a model in which the score of a prefix depends on what comes after it.

        The two longest rows are cut in the middle and scored anew.

        Args:
            input_ids: A batch like those of the run, one row of two different tokens or more in it.
            attention_mask: True where a token is real.

        Raises:
            InputError: The scores of prefixes are not those of the cut rows.
        """
        rows = attention_mask.sum(-1).topk(min(_CAUSAL_ROWS, len(attention_mask))).indices
        ids, mask = input_ids[rows], attention_mask[rows]
        prefixes = self.score(ids, mask, with_prefixes=True).prefix_scores
        assert prefixes is not None  # they were asked for
        apart = 0.0
        for row, columns in enumerate(real.nonzero()[:, 0] for real in mask):
            end = int(columns[(len(columns) - 1) // 2]) + 1
            one = slice(row, row + 1)
            cut = self.score(ids[one, :end], mask[one, :end]).scores
            apart = max(apart, (prefixes[one, end - 1] - cut).abs().item())
        tolerance = _CAUSAL_TOLERANCE.get(self.model.dtype, _COARSE_TOLERANCE)
        largest = prefixes.abs().amax().item()
        # Written so that a NaN is no agreement.
        if not apart <= tolerance * largest:
            raise InputError(
                f"reward.mode: red needs a causal reward model, which scores a prefix alike within "
                f"a longer text, received model type {self.model.config.model_type!r} whose scores "
                f"differ by {apart:.2g} (largest score {largest:.2g}); choose another mode, or a "
                f"decoder as reward model"
            )


def read_scores(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"],
    *,
    positive_label: str | int | None = None,
) -> Float[Tensor, " B"]:
    """Returns what `RewardModel.score` gives, with its gradient and in the mode the model is in.

    Args:
        model: See `RewardModel`.
        input_ids: Token ids, padded on any side.
        attention_mask: True where a token is real.
        positive_label: See `RewardModel`.
    """
    scored = last_positions(attention_mask)
    hidden = _hidden_states(model, input_ids, attention_mask)
    rows = torch.arange(len(scored), device=scored.device)
    return head_of(model, positive_label)(hidden[rows, scored])


def _hidden_states(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor
) -> Float[Tensor, "B T d"]:
    # The backbone without the classifier's own forward, which would look for the scored position by
    # padding id.
    hidden: Tensor = model.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask.long(),
        position_ids=position_ids(attention_mask),
        use_cache=False,
    ).last_hidden_state
    return hidden
