"""GPT-2's GELU in place: not one bit differs from transformers' own."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import NewGELUActivation

from abcrl.models.new_gelu import compute_gelu_in_place, new_gelu


@pytest.mark.parametrize("shape", [(3, 7, 36), (1, 17, 1024), (16, 116, 1024), (400_001,), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_and_gradients_are_transformers_own(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = (3 * torch.randn(shape, generator=generator)).to(dtype)
    gradient = torch.randn(shape, generator=generator).to(dtype)
    computed = []
    for gelu in (NewGELUActivation(), new_gelu):
        x = inputs.clone().requires_grad_()
        y = gelu(x)
        y.backward(gradient)
        assert x.grad is not None
        computed.append((y.detach(), x.grad))
    (expected, expected_gradient), (values, gradients) = computed
    assert torch.equal(values, expected)
    assert torch.equal(gradients, expected_gradient)


def test_a_transposed_input_is_read_in_its_own_order():
    inputs = torch.randn(5, 3).t()
    assert torch.equal(new_gelu(inputs), NewGELUActivation()(inputs))


def test_a_model_computes_the_same_loss_and_gradients():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_layer=2, n_embd=16, n_head=2, n_positions=16)
    model = GPT2LMHeadModel(config).eval()
    changed = copy.deepcopy(model)
    compute_gelu_in_place(changed)
    ids = torch.arange(12).view(2, 6)
    for network in (model, changed):
        network(ids, labels=ids).loss.backward()
    for one, other in zip(model.parameters(), changed.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_what_is_kept_for_the_backward_pass_is_two_tensors():
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    x = torch.randn(8, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        new_gelu(x)
    assert kept == [x.numel(), x.numel()]
