"""Credit on another length: the profile of one response laid over another.

A response of s tokens is read as the unit interval, token i covering [i / s, (i + 1) / s) with its
weight spread evenly over it. On another length, each token receives the mass of its own interval.
"""

from typing import Final

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from .refusals import (
    enforce,
    has_response,
    is_evidence,
    refusal,
    require_floats,
    require_mask,
)
from .scaling import widest_float
from .tokens import token_ranks

POSITIONS: Final = 10
"""Relative positions of a profile, as many as `Evidence.profile` has entries."""


@torch.no_grad()
def resample_weights(
    weights: Float[Tensor, "B S"], response_mask: Bool[Tensor, "B S"], onto: Bool[Tensor, "B R"]
) -> Float32[Tensor, "B R"]:
    """Return each row of weights brought to the length of the row of `onto`, its mass kept.

    With C the cumulative mass of the s given tokens, linear between them,

    w'[j] = C((j + 1) * s / r) - C(j * s / r)

    for token j of the r receiving ones. At r = s the weights return unchanged, but for rounding. At
    another length a spike falls between two tokens, and the share of tokens that is effective grows
    (by about a third from 50 tokens to 51, if it was 20 %): take rows of the same length where
    sparsity matters.

    Args:
        weights: credit, or anything else >= 0 on the response.
        response_mask: the tokens that have these weights.
        onto: the response mask of the rows that receive them.

    Returns:
        Weights in float32, outside of autograd, 0 off `onto`; each row sums to what it summed to.

    Raises:
        ValueError: wrong type, shape, dtype or device; a row without a response token in either
            mask; on the response, weights that are negative or not finite in float32.
    """
    require_mask(response_mask)
    require_mask(onto, "onto")
    require_floats("weights", weights, "B R", response_mask)
    if onto.shape[0] != response_mask.shape[0]:
        rule, remedy = f"have {response_mask.shape[0]} rows", "give each row of weights one of onto"
        raise refusal("onto", rule, onto.shape[0], remedy)
    if onto.device != response_mask.device:
        rule = f"be on the device of response_mask ({response_mask.device})"
        raise refusal("onto", rule, onto.device, "move one of them")
    weights = weights.to(torch.float32)
    enforce(
        has_response(response_mask),
        has_response(onto)._replace(field="onto"),
        is_evidence("weights", weights, response_mask),
    )
    return stretch(weights, response_mask, onto)


@torch.no_grad()
def fit_position_profile(
    weights: Float[Tensor, "N R"], response_mask: Bool[Tensor, "N R"]
) -> Float32[Tensor, "10"]:
    """Return the mean credit of each tenth of a response, the `Evidence.profile` of `position`.

    Args:
        weights: credit of N responses, `Credit.weights`.
        response_mask: True = this response token counts.

    Returns:
        Ten numbers >= 0, outside of autograd, that sum to 1 where every row of `weights` does.

    Raises:
        ValueError: no response; otherwise as `resample_weights`.
    """
    require_mask(response_mask)
    N = response_mask.shape[0]
    if N == 0:
        raise refusal("weights", "have at least one row", 0, "fit the profile on some responses")
    tenths = torch.ones(N, POSITIONS, dtype=torch.bool, device=response_mask.device)
    return resample_weights(weights, response_mask, tenths).mean(0)


def stretch(
    weights: Float32[Tensor, "B S"], response_mask: Bool[Tensor, "B S"], onto: Bool[Tensor, "B R"]
) -> Float32[Tensor, "B R"]:
    """Return what `resample_weights` does, for values that are already checked."""
    # Differences of a cumulative sum cancel: in float32, weights below 1e-7 would be lost in it.
    mass = weights.to(widest_float(weights.device)).masked_fill(~response_mask, 0)
    # Holes closed up: the response tokens to the left, in their order. One column more on the
    # respective side for C's ends, C(0) = 0 and C(s) = all.
    packed = mass.gather(-1, (~response_mask).to(torch.uint8).argsort(dim=-1, stable=True))
    before = torch.nn.functional.pad(packed.cumsum(-1), (1, 0))
    packed = torch.nn.functional.pad(packed, (0, 1))
    s, r = (mask.sum(-1, keepdim=True).clamp(min=1) for mask in (response_mask, onto))

    def cumulative(rank: Int[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """C(rank * s / r). Whole tokens are counted in integers, where division is exact."""
        whole = rank * s // r
        part = (rank * s - whole * r) / r
        return before.gather(-1, whole) + part * packed.gather(-1, whole)

    rank = token_ranks(onto).clamp(min=0)
    resampled = cumulative(rank + 1) - cumulative(rank)
    return resampled.clamp(min=0).to(torch.float32).masked_fill(~onto, 0)
