"""A batch in parts, for passes without gradient: bounded memory, little padding."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

TOKENS_AT_ONCE = 2**15
"""Positions of one pass, padding included: [32, 1024]. A batch within it is never split."""


def split_rows(lengths: Int[Tensor, " B"], at_once: int) -> list[Int[Tensor, " _"]]:
    """Returns the rows in parts of similar lengths, longest first.

    Args:
        lengths: Real tokens of each row.
        at_once: Positions that a part may hold, its padding included; a longer row is a part.

    Returns:
        Row numbers, on the device of `lengths`: of all rows in their order where they fit.
    """
    sizes = lengths.tolist()
    if len(sizes) * max(sizes) <= at_once:
        return [torch.arange(len(sizes), device=lengths.device)]
    order = sorted(range(len(sizes)), key=lambda row: -sizes[row])
    parts: list[list[int]] = [[]]
    for row in order:
        longest = sizes[parts[-1][0]] if parts[-1] else sizes[row]
        if parts[-1] and (len(parts[-1]) + 1) * longest > at_once:
            parts.append([])
        parts[-1].append(row)
    return [torch.tensor(rows, device=lengths.device) for rows in parts]


def join_parts(
    parts: Sequence[Int[Tensor, " _"]], pieces: Sequence[Tensor], shape: Sequence[int]
) -> Tensor:
    """Returns one tensor [B, ...] of what was computed part by part.

    Args:
        parts: The rows of each part.
        pieces: [b, ...] each; a narrower one fills the first columns, and 0 the others.
        shape: Of the whole.
    """
    whole = pieces[0].new_zeros(shape)
    for rows, piece in zip(parts, pieces, strict=True):
        place: Tensor = whole[(slice(None), *(slice(size) for size in piece.shape[1:]))]
        place[rows] = piece
    return whole
