"""Attention for free: the rows that credit needs, while the model runs its usual attention.

Only one attention module is touched, and only for the length of a context: it shows the queries
and keys that its kernel receives (rotary and the like are already applied there), and the asked-for
rows of the softmax are computed from them in float32, with the layer's own scaling, mask and
grouped-query repetition. Every layer keeps its kernel, the logits stay what they were to the bit,
and nothing of size [T, T] is stored. A module that computes all its weights anyway (eager
attention: gptj, bloom, gemma2) is merely read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Int
from torch import Tensor, nn

from .layers import CaptureError, attention_module, cannot_capture, check_heads
from .readers import reader_of
from .rows import Capture

__all__ = ["Capture", "CaptureError", "capture_attention"]


@contextmanager
def capture_attention(
    model: nn.Module,
    query_positions: Int[Tensor, "B Q"],
    *,
    columns: slice = slice(None),
    layer: int = -1,
    heads: Sequence[int] | None = None,
) -> Iterator[Capture]:
    """Captures rows of one layer's attention, averaged over heads.

    Inside the context run one forward pass without a cache, in eval mode or with attention dropout
    at 0, then read `result()`. Contexts may be nested, on one model or several.

    With one row per sequence a fast kernel costs O(B H T) more and holds nothing of size [T, T]. A
    module on eager attention holds the [B, H, T, T] that it computes for itself.

    Args:
        model: A decoder; one that PEFT has wrapped will do.
        query_positions: Sequence positions whose rows are wanted.
        columns: Columns to keep; default all.
        layer: Index among the layers that have attention; negative counts from the end.
        heads: Heads to average over; default all.

    Raises:
        CaptureError: The architecture does not show its attention, or has no such layer or head.
    """
    module = attention_module(model, layer)
    capture = Capture(query_positions, columns, check_heads(model, module, heads))
    with reader_of(model, module)(module, capture):
        yield capture
    if capture.attention is None:
        raise cannot_capture(model, "has run without showing it")
