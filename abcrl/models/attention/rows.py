"""The rows of attention that are asked for, and the arithmetic that gives them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(eq=False)
class Capture:
    """Asked-for rows and, after the forward pass, their attention.

    Attributes:
        query_positions: Sequence positions whose rows are wanted, per batch row.
        columns: Which sequence positions are kept as columns.
        heads: The heads to average over; None for all.
        attention: Mean over the heads, float32; None until the model has run.
    """

    query_positions: Int[Tensor, "B Q"]
    columns: slice
    heads: tuple[int, ...] | None
    attention: Float[Tensor, "B Q K"] | None = None

    def result(self) -> Float[Tensor, "B Q K"]:
        """Returns the attention of the forward pass that ran inside the context."""
        if self.attention is None:
            raise RuntimeError("the model has not run inside capture_attention")
        return self.attention

    def read_projections(
        self,
        query: Float[Tensor, "B H T D"],
        key: Float[Tensor, "B G T D"],
        attention_mask: Tensor | None,
        *,
        scaling: float | None,
        window: int | None = None,
        softcap: float | None = None,
    ) -> None:
        """Computes the rows from what an attention kernel receives; see `attention_rows`."""
        rows = self.query_positions.to(query.device)
        mask = additive_mask(attention_mask, rows, key.shape[2], window)
        if scaling is None:
            scaling = query.shape[-1] ** -0.5
        self.attention = attention_rows(
            query.detach(), key.detach(), mask, self, scaling=scaling, softcap=softcap
        )

    def read_weights(self, weights: Float[Tensor, "B H T T"]) -> None:
        """Picks the rows out of weights that the model has computed itself, head by head."""
        rows = self.query_positions.to(weights.device)
        index = rows[..., None].expand(-1, -1, weights.shape[-1])
        heads = range(weights.shape[1]) if self.heads is None else self.heads
        total = torch.zeros(index.shape, device=weights.device)[..., self.columns]
        for head in heads:
            picked = weights.detach()[:, head].gather(1, index)
            total = total + picked[..., self.columns].float()
        self.attention = total / len(heads)


@torch.no_grad()
def attention_rows(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B G T D"],
    mask: Float[Tensor, "B h Q T"],
    asked: Capture,
    *,
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "B Q K"]:
    """Returns the mean over heads of softmax(scaling * q k^T + mask) at the asked-for rows.

    In float32, also under autocast. One head at a time when several rows are asked for, so that at
    most one [B, Q, T] is held beside the sum; a single row costs O(B H T), all heads at once.

    Args:
        query: Queries as the kernel receives them, rotated and the like.
        key: Keys, likewise; each serves H / G query heads in a row.
        mask: Added to the logits of the asked-for rows; one for all heads or one per head.
        asked: Which rows, heads and columns.
        scaling: Factor of the logits.
        softcap: The logits are squeezed by a tanh between plus and minus this, before the mask.
    """
    B, H, _, D = query.shape
    G, T = key.shape[1:3]
    Q = asked.query_positions.shape[1]
    shared = H // G
    heads = range(H) if asked.heads is None else asked.heads
    share = torch.zeros(H, device=query.device)
    share[list(heads)] = 1 / len(heads)
    share = share.view(G, shared)
    blocks = [(_only(head // shared), _only(head % shared)) for head in heads]
    if Q == 1:
        blocks = [(slice(None), slice(None))]
    index = asked.query_positions.to(query.device)[:, None, :, None].expand(B, H, Q, D)
    chosen = query.gather(2, index).float().view(B, G, shared, Q, D)
    mask = mask.expand(B, H, Q, T).view(B, G, shared, Q, T)
    total = torch.zeros(B, Q, T, device=query.device)[..., asked.columns]
    with torch.autocast(query.device.type, enabled=False):
        for group, member in blocks:
            keys = key[:, group].float()
            logits = torch.einsum("bghqd,bgtd->bghqt", chosen[:, group, member], keys) * scaling
            if softcap is not None:
                logits = torch.tanh(logits / softcap) * softcap
            attention = (logits + mask[:, group, member]).softmax(-1)[..., asked.columns]
            total = total + torch.einsum("bghqt,gh->bqt", attention, share[group, member])
    return total


def additive_mask(
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


def _only(index: int) -> slice:
    return slice(index, index + 1)


def _blocked(where: Tensor) -> Tensor:
    smallest = torch.finfo(torch.float32).min
    return torch.zeros(where.shape, device=where.device).masked_fill_(where, smallest)
