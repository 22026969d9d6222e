"""The tied embedding's gradient: the same, without a second tensor of the vocabulary's size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from abcrl.models.tied_embedding import rows_added_in_place
from tests.allocations import Allocations

BuildModel = Callable[..., PreTrainedModel]
V = 40
IDS = torch.tensor([[3, 7, 3, 1], [7, 7, 39, 1], [0, 3, 5, 5]])


def backward(model: PreTrainedModel, ids: Tensor) -> None:
    run: Any = model
    run(input_ids=ids).logits.log_softmax(-1).square().mean().backward()


def gradients(model: PreTrainedModel) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def rows_of_gradients(allocations: Allocations) -> set[int]:
    operation = "aten.embedding_dense_backward.default"
    return {made.shape[0] for made in allocations.made if made.operation == operation}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "gemma"])
@pytest.mark.parametrize("passes", [1, 3])
def test_gradients_are_the_same(tiny_causal_lm: BuildModel, architecture, tied, passes):
    models = [
        tiny_causal_lm(architecture, vocab_size=V, tie_word_embeddings=tied) for _ in range(2)
    ]
    for start in range(passes):
        backward(models[0], IDS[start:])
        with rows_added_in_place(models[1]):
            backward(models[1], IDS[start:])

    assert len(gradients(models[0])) == len(list(models[0].parameters()))
    for ours, theirs in zip(*map(gradients, models), strict=True):
        # to the bit; of several passes the parts are added in another order
        assert_close(ours, theirs, rtol=0, atol=0 if passes == 1 else 1e-5)


def test_a_padding_row_gets_no_gradient_from_the_embedding(tiny_causal_lm: BuildModel):
    models = [tiny_causal_lm("opt", vocab_size=V, pad_token_id=7) for _ in range(2)]
    assert models[0].get_input_embeddings().padding_idx == 7

    backward(models[0], IDS)
    with rows_added_in_place(models[1]):
        backward(models[1], IDS)

    for ours, theirs in zip(*map(gradients, models), strict=True):
        assert torch.equal(ours, theirs)


def test_no_second_tensor_of_the_vocabularys_size_is_made(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("gpt2", vocab_size=V)
    with Allocations() as plain:
        backward(model, IDS)
    with rows_added_in_place(model), Allocations() as in_place:
        backward(model, IDS)

    assert V in rows_of_gradients(plain)
    assert V not in rows_of_gradients(in_place)


def test_afterwards_the_model_is_as_before(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("gpt2", vocab_size=V)
    with rows_added_in_place(model):
        assert "forward" in vars(model.get_input_embeddings())
    assert "forward" not in vars(model.get_input_embeddings())
