"""The gradient of an input embedding that is the output head too, added where its rows are.

Torch makes a second tensor of the vocabulary's size, nearly all of it zeros, and adds it to the
head's gradient: with mini-batches of few tokens on a CPU a tenth of the whole update.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel


@contextmanager
def rows_added_in_place(model: PreTrainedModel) -> Iterator[None]:
    """Adds the tied embedding's gradient row by row to the head's, in the block.

    For passes whose backward pass is inside the block too. The gradient is the same, to the bit
    where it is that of one pass. Nothing changes where the embedding is
    not tied or not trained, and on a GPU, where the zeros cost less than to wait for the rows.
    """
    embedding = model.get_input_embeddings()
    if not _applies(embedding, model.get_output_embeddings()):
        yield
        return
    # A gradient has to be asked for, or there is no backward pass; that of this one is nothing.
    asked = torch.zeros((), requires_grad=True)

    def look_up(ids: Int[Tensor, "b T"]) -> Float[Tensor, "b T d"]:
        rows: Tensor = _RowsInPlace.apply(asked, ids, embedding)  # type: ignore[no-untyped-call]
        return rows

    embedding.forward = look_up
    try:
        yield
    finally:
        del embedding.forward


def _applies(embedding: nn.Module, head: nn.Module | None) -> bool:
    return (
        type(embedding) is nn.Embedding  # of another kind, its forward may do more
        and head is not None
        and getattr(head, "weight", None) is embedding.weight
        and embedding.weight.requires_grad
        and embedding.weight.device.type == "cpu"
        and embedding.max_norm is None
        and not embedding.scale_grad_by_freq
        and not embedding.sparse
    )


class _RowsInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, _asked: Tensor, ids: Tensor, embedding: nn.Embedding) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(ids)
        ctx.embedding = embedding
        return functional.embedding(ids, embedding.weight.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (gradient,) = gradients
        (ids,) = ctx.saved_tensors
        weight, padding = ctx.embedding.weight, ctx.embedding.padding_idx
        if padding is not None:
            gradient = gradient.masked_fill((ids == padding)[..., None], 0.0)
        used, row_of = ids.unique(return_inverse=True)
        # Summed first, as torch does: the sum of all of a token's gradients is added once.
        sums = torch.ops.aten.embedding_dense_backward(gradient, row_of, len(used), -1, False)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, used, sums)
        return gradient.new_zeros(()), None, None
