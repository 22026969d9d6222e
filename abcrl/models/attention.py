"""Attention for free: the rows that credit needs, while the model runs its usual fast attention.

Only the last attention module is touched: it is given a copy of its configuration that names an
attention function of ours. That function calls the model's own one, and beside it computes the
softmax of the asked-for rows in float32 from the queries and keys it receives (rotary and the like
are already applied there), with the layer's own scaling, mask and grouped-query repetition. Every
other layer keeps its kernel, nothing of size [T, T] is stored, and leaving the context restores
the module, also after an exception.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from abcrl.config import InputError

_NAME = "abcrl_capture"
_STATE = "_abcrl_captures"
# What an attention function may be told that changes its weights and is not reproduced here.
_UNSUPPORTED = ("softcap", "s_aux", "position_bias")


class CaptureError(InputError):
    """Attention cannot be captured from this model."""


@dataclass
class Capture:
    """Asked-for rows and, after the forward pass, their attention.

    Attributes:
        query_positions: Sequence positions whose rows are wanted, per batch row.
        columns: Which sequence positions are kept as columns.
        implementation: Name of the model's own attention function.
        attention: Mean over heads, float32; None until the model has run.
    """

    query_positions: Int[Tensor, "B Q"]
    columns: slice
    implementation: str
    attention: Float[Tensor, "B Q K"] | None = None

    def result(self) -> Float[Tensor, "B Q K"]:
        """Returns the attention of the forward pass that ran inside the context."""
        if self.attention is None:
            raise RuntimeError("the model has not run inside capture_attention")
        return self.attention


@contextmanager
def capture_attention(
    model: PreTrainedModel,
    query_positions: Int[Tensor, "B Q"],
    *,
    columns: slice = slice(None),
) -> Iterator[Capture]:
    """Captures rows of the last layer's attention, averaged over heads.

    Inside the context run one forward pass without a cache, then read `result()`.

    Args:
        model: A decoder whose layers use transformers' attention interface.
        query_positions: Sequence positions whose rows are wanted.
        columns: Columns to keep; default all.

    Raises:
        CaptureError: The architecture does not use the attention interface.
    """
    module = last_attention_module(model)
    config: Any = module.config
    outer: tuple[Capture, ...] = getattr(module, _STATE, ())
    own = outer[0].implementation if outer else config._attn_implementation
    capture = Capture(query_positions, columns, own)
    if not outer:
        renamed = copy.copy(config)
        # The public setter would also rewrite the sub-configurations, which the copy shares.
        renamed._attn_implementation_internal = _NAME
        module.config = renamed
    setattr(module, _STATE, (*outer, capture))
    try:
        yield capture
        if capture.attention is None:
            raise CaptureError(_cannot_capture(model))
    finally:
        module.config = config
        if outer:
            setattr(module, _STATE, outer)
        else:
            delattr(module, _STATE)


def last_attention_module(model: PreTrainedModel) -> nn.Module:
    """Returns the self-attention module of the last layer.

    Raises:
        CaptureError: The model has none that transformers' attention interface could reach.
    """
    found: list[Any] = [
        module
        for module in model.modules()
        if type(module).__name__.endswith("Attention")
        and isinstance(getattr(module, "layer_idx", None), int)
        and hasattr(module, "config")
    ]
    if not found:
        raise CaptureError(_cannot_capture(model))
    module: nn.Module = max(found, key=lambda module: module.layer_idx)
    return module


def _cannot_capture(model: PreTrainedModel) -> str:
    return (
        f"reward.mode: needs a model on transformers' attention interface (gpt2, llama, ...), "
        f"received model type {model.config.model_type!r} with attention "
        f"{model.config._attn_implementation!r}; choose another model, or reward mode rlhf or "
        f"uniform"
    )


def _attend_and_capture(
    module: nn.Module,
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B G T D"],
    value: Float[Tensor, "B G T D"],
    attention_mask: Tensor | None,
    **kwargs: Any,  # noqa: ANN401 - whatever a model passes to its attention function
) -> tuple[Tensor, Tensor | None]:
    """The attention function that the touched module calls: the model's own, and the capture."""
    captures: tuple[Capture, ...] = getattr(module, _STATE)
    unsupported = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if unsupported:
        raise CaptureError(
            f"reward.mode: attention with {unsupported[0]} cannot be captured; choose another "
            f"model, or reward mode rlhf or uniform"
        )
    scaling = kwargs.get("scaling")
    for capture in captures:
        rows = capture.query_positions.to(query.device)
        attention = attention_rows(
            query.detach(),
            key.detach(),
            _additive_mask(attention_mask, rows, key.shape[2], kwargs.get("sliding_window")),
            rows,
            scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
            columns=capture.columns,
        )
        capture.attention = attention
    # Eager is not in the registry; its [.., T, T] mask suits sdpa, and the weights are ours.
    own = captures[0].implementation
    function = ALL_ATTENTION_FUNCTIONS["sdpa" if own == "eager" else own]
    output: tuple[Tensor, Tensor | None] = function(
        module, query, key, value, attention_mask, **kwargs
    )
    return output


@torch.no_grad()
def attention_rows(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B G T D"],
    additive_mask: Float[Tensor, "B h Q T"],
    rows: Int[Tensor, "B Q"],
    *,
    scaling: float,
    columns: slice,
) -> Float[Tensor, "B Q K"]:
    """Returns mean over heads of softmax(scaling * q k^T + mask) at the asked-for rows.

    One key-value head at a time when several rows are asked for, so that at most one group's
    [B, H / G, Q, T] is held; a single row costs O(B H T) and is computed at once.
    """
    B, H, _, D = query.shape
    G, T = key.shape[1:3]
    Q = rows.shape[1]
    index = rows[:, None, :, None].expand(B, H, Q, D)
    chosen = query.gather(2, index).float().view(B, G, H // G, Q, D)
    mask = additive_mask[:, :, None] if additive_mask.shape[1] == 1 else additive_mask
    mask = mask.view(B, -1, H // G, Q, T) if additive_mask.shape[1] > 1 else mask
    total = torch.zeros(B, Q, T, device=query.device)[..., columns]
    step = G if Q == 1 else 1
    for first in range(0, G, step):
        group = slice(first, first + step)
        keys = key[:, group, None].float().transpose(-1, -2)
        logits = chosen[:, group] @ keys * scaling
        logits = logits + (mask[:, group] if mask.shape[1] > 1 else mask)
        total = total + logits.softmax(-1)[..., columns].sum((1, 2))
    return total / H


def _additive_mask(
    attention_mask: Tensor | None, rows: Int[Tensor, "B Q"], width: int, window: int | None
) -> Float[Tensor, "B h Q T"]:
    """Returns the mask of the asked-for rows: 0 where attended, else the smallest float.

    Masked columns then get exactly 0, because their exponential underflows. What a fast kernel is
    given is one of: nothing (causal), the padding [B, T] (causal and that), or all rows. Only the
    last one already knows of a sliding window.
    """
    if attention_mask is None or attention_mask.ndim == 2:
        column = torch.arange(width, device=rows.device)
        seen = column <= rows[..., None]
        if window is not None:
            seen = seen & (column > rows[..., None] - window)
        if attention_mask is not None:
            seen = seen & attention_mask[:, None, :].bool()
        return _blocked(~seen)[:, None]
    full = attention_mask.expand(rows.shape[0], -1, -1, -1)[..., :width]
    index = rows[:, None, :, None].expand(-1, full.shape[1], -1, width)
    picked = full.gather(2, index)
    if picked.dtype is torch.bool:
        return _blocked(~picked)
    return picked.float().clamp(min=torch.finfo(torch.float32).min)


def _blocked(where: Tensor) -> Tensor:
    smallest = torch.finfo(torch.float32).min
    return torch.zeros(where.shape, device=where.device).masked_fill_(where, smallest)


AttentionInterface.register(_NAME, _attend_and_capture)
