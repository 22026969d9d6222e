"""Positions from the attention mask alone; pad ids are never read."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def position_ids(attention_mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Returns each token's position counted over real tokens, whatever side the padding is on."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def last_positions(attention_mask: Bool[Tensor, "B T"]) -> Int[Tensor, " B"]:
    """Returns the index of each row's last real token."""
    width = attention_mask.shape[-1]
    index = torch.arange(width, device=attention_mask.device)
    return torch.where(attention_mask, index, -1).amax(-1)
