"""Positions from the attention mask alone, never from pad ids, and how many a model has."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


def position_ids(attention_mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Returns each token's position counted over real tokens, whatever side the padding is on."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def last_positions(attention_mask: Bool[Tensor, "B T"]) -> Int[Tensor, " B"]:
    """Returns the index of each row's last real token."""
    width = attention_mask.shape[-1]
    index = torch.arange(width, device=attention_mask.device)
    return torch.where(attention_mask, index, -1).amax(-1)


def context_length(model: nn.Module) -> int | None:
    """Returns the most tokens that a model can read; None where its architecture sets no limit."""
    length = getattr(model.config, "max_position_embeddings", None)
    return None if length is None else int(length)
