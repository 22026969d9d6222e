"""Which token is which: ranks, ends and neighbours among response tokens, read from the mask alone.

A mask may be padded on either side and may have holes. "First", "last" and "next" always mean among
the True columns; the column numbers themselves mean nothing.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def token_ranks(response_mask: Bool[Tensor, "B R"]) -> Int[Tensor, "B R"]:
    """Return the number of each response token within its response, from 0.

    Off the response the values have no meaning.
    """
    return response_mask.cumsum(-1) - 1


def first_response_token(response_mask: Bool[Tensor, "B R"]) -> Bool[Tensor, "B R"]:
    """Return True at the first response token of each row, the one True of a non-empty row."""
    return response_mask & (response_mask.cumsum(-1) == 1)


def last_response_token(response_mask: Bool[Tensor, "B R"]) -> Bool[Tensor, "B R"]:
    """Return True at the last response token of each row, the one True of a non-empty row."""
    return response_mask & (response_mask.cumsum(-1) == response_mask.sum(-1, keepdim=True))


def move_to_next_token(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float[Tensor, "B R"]:
    """Return the values moved one response token to the right.

    The first response token receives 0, the value of the last one is dropped. Off the response the
    result has no meaning.
    """
    columns = torch.arange(response_mask.shape[1], device=response_mask.device)
    # The running maximum over response columns is, at each column, the latest response token so
    # far; seen from one column further left it is the one before. -1: there is none.
    latest = columns.where(response_mask, -1).cummax(-1).values
    previous = latest.roll(1, dims=-1)
    previous[:, 0] = -1
    return values.gather(-1, previous.clamp(min=0)).masked_fill(previous < 0, 0)
