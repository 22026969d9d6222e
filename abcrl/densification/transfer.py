"""Transfer: attention over the reward model's tokens, given to the policy's response tokens.

Where policy and reward model share a tokenizer, attention is cut to the response columns. Where
they do not, the reward model reads other tokens than the policy wrote, and what lies on its tokens
comes back through the bytes that both stand for:

    out[j] = sum over s of attention[s] * overlap[s, j] / (sum over i of overlap[s, i])

with s over source tokens (S of them, the reward model's) and i, j over response tokens.

The overlap is nearly all zeros, a band of about S + R entries in [S, R], and is held dense all the
same: 64 responses of 512 tokens read as 512 tokens are 64 MiB, the transfer needs that twice more,
and a list of indices would have to be padded, checked and scattered for the same numbers.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .refusals import (
    enforce,
    has_response,
    is_evidence,
    is_finite,
    refusal,
    require_floats,
    require_mask,
)


class Transferred(NamedTuple):
    """Attention that has reached the response, and how much of it has not."""

    attention: Float32[Tensor, "B R"]
    """>= 0, 0 off the response, on the scale it came in; `Evidence.reward_attention` takes it."""
    dropped_share: Float32[Tensor, " B"]
    """0 to 1: the part of each row's attention that lay on tokens outside of the response."""


@torch.no_grad()
def transfer(
    attention: Float[Tensor, "B S"],
    overlap: Float[Tensor, "B S R"],
    response_mask: Bool[Tensor, "B R"] | None = None,
) -> Transferred:
    """Return each source token's attention split over the response tokens that it overlaps.

    What lies on a source token is split in proportion to its overlaps. A source token that overlaps
    no response token (prompt, BOS, template, padding) keeps nothing: its attention is dropped, and
    reported. What arrives is not normalised here; `assign_credit` does that, as for a reward model
    that shares the policy's tokenizer.

    Args:
        attention: attention or weights over the source tokens, on any scale.
        overlap: how much of source token s lies in response token j, in bytes or any other unit:
            only proportions within [b, s] matter. Columns off the response are not read.
        response_mask: True = this response token counts; None: every column does.

    Returns:
        Transferred on the device of attention, in float32, outside of autograd. Within 1e-6 of the
        row's attention, sum of out = (1 - dropped_share) * sum of in; no row depends on another. A
        row without attention drops nothing. Where each source token overlaps one response token
        and none the same, attention arrives unchanged to the bit.

    Raises:
        ValueError: wrong type, shape, dtype or device; a row without a response token; attention,
            or overlap on the response, that is negative or not finite in float32.
    """
    if response_mask is None:
        response_mask = _all_columns(overlap)
    _require_structure(attention, overlap, response_mask)
    on_response = response_mask[:, None, :].expand(overlap.shape)
    attention = attention.to(torch.float32)
    overlap = overlap.to(torch.float32).masked_fill(~on_response, 0)
    received, per_source = attention.sum(-1), overlap.sum(-1)
    enforce(
        has_response(response_mask),
        is_evidence("attention", attention),
        is_evidence("overlap", overlap, on_response),
        is_finite("sum of attention", received),
        is_finite("sum of overlap", per_source),
    )
    reaches = per_source > 0
    # Not a matrix product, which autocast and TF32 would round to a few digits. The share comes
    # first: n / n is 1, so that a token with one partner hands over exactly what it has.
    shares = overlap / per_source.where(reaches, 1)[:, :, None]
    arrived = shares.mul_(attention[:, :, None]).sum(1)
    dropped = attention.masked_fill(reaches, 0).sum(-1)
    return Transferred(arrived, dropped / received.where(received > 0, 1))


def _all_columns(overlap: Tensor) -> Tensor:
    """Return the mask in which every column of the overlap counts, if it has columns."""
    if not isinstance(overlap, Tensor) or overlap.ndim != 3:
        received = list(overlap.shape) if isinstance(overlap, Tensor) else type(overlap).__name__
        raise refusal("overlap", "have shape [B, S, R]", received, "pass it with these axes")
    B, _, R = overlap.shape
    return torch.ones(B, R, dtype=torch.bool, device=overlap.device)


def _require_structure(attention: Tensor, overlap: Tensor, response_mask: Tensor) -> None:
    """Refuse what can be seen without looking at values."""
    require_mask(response_mask)
    # The mask does not know S; attention sets it, and the overlap has to agree.
    S = attention.shape[-1] if isinstance(attention, Tensor) and attention.ndim else 1
    require_floats("attention", attention, f"B {S}", response_mask)
    require_floats("overlap", overlap, f"B {S} R", response_mask)
