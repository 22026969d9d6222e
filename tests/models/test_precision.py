"""bfloat16 for whoever calls the model, and its refusal where the device does not have it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import GenerationConfig, PreTrainedModel

from abcrl.config import InputError
from abcrl.models import compute_in_bf16, require_bf16, response_logits

BuildModel = Callable[..., PreTrainedModel]


def logits_of(model: PreTrainedModel) -> Tensor:
    ids = torch.randint(2, 64, (3, 9), generator=torch.Generator().manual_seed(1))
    return response_logits(model, ids, torch.ones(3, 9, dtype=torch.bool), 5)[0]


def test_products_are_in_bf16_and_weights_and_gradients_in_float32(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("llama")
    expected = logits_of(model)
    compute_in_bf16(model)
    logits = logits_of(model)
    assert logits.dtype == torch.bfloat16
    assert_close(logits.float(), expected, atol=0.3, rtol=0.05)
    assert not torch.equal(logits.float(), expected)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(logits.float().sum(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert parameter.dtype == gradient.dtype == torch.float32


def test_generation_runs_in_it_too(tiny_causal_lm: BuildModel):
    model: Any = tiny_causal_lm()
    dtypes: set[torch.dtype] = set()
    model.lm_head.register_forward_hook(lambda *call: dtypes.add(call[-1].dtype))
    compute_in_bf16(model)
    options = GenerationConfig(max_new_tokens=3, do_sample=False, eos_token_id=0, pad_token_id=1)
    model.generate(input_ids=torch.tensor([[5, 6, 7]]), generation_config=options)
    assert dtypes == {torch.bfloat16}


def test_a_copy_computes_with_its_own_weights(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm()
    compute_in_bf16(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
        assert (logits_of(copied) == 0).all()
        assert (logits_of(model) != 0).any()


def test_a_device_without_it_is_refused():
    with pytest.raises(InputError) as caught:
        require_bf16(torch.device("cpu"), "networks.precision")
    assert str(caught.value) == (
        "networks.precision: must be float32 on this device (cpu), received bf16; run on a GPU "
        "that computes in bfloat16, or --set networks.precision=float32"
    )
