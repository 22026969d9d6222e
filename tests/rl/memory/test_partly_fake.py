"""Networks have no numbers, ids and masks do, and code cannot tell."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from abcrl.rl.memory.partly_fake import LARGEST_REAL, PartlyFake


def skeleton() -> nn.Sequential:
    with torch.device("meta"):
        network = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    network[1].weight = network[0].weight
    return network


@pytest.fixture
def mode() -> PartlyFake:
    return PartlyFake()


def test_what_comes_from_a_network_is_fake_and_the_rest_is_real(mode):
    network = skeleton()
    mode.materialise(network, torch.device("cpu"))
    with mode:
        ids = torch.tensor([[1, 2, 3]])
        assert (ids + 1).tolist() == [[2, 3, 4]]
        assert int(ids.argmax()) == 2
        logits = network(ids)
        assert isinstance(logits, FakeTensor)
        assert (logits.shape, logits.device.type) == ((1, 3, 9), "cpu")
        torch.autograd.backward(logits.sum())
        assert isinstance(network[0].weight.grad, FakeTensor)


def test_tied_weights_stay_tied(mode):
    network = skeleton()
    mode.materialise(network, torch.device("cpu"))
    assert network[0].weight is network[1].weight
    assert len(list(network.parameters())) == 1


def test_frozen_weights_stay_frozen_and_buffers_are_replaced(mode):
    with torch.device("meta"):
        network = nn.BatchNorm1d(3).requires_grad_(False)
    mode.materialise(network, torch.device("cpu"))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not isinstance(network.running_mean, nn.Parameter)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


def test_fake_numbers_are_finite_and_one(mode):
    network = skeleton()
    mode.materialise(network, torch.device("cpu"))
    with mode:
        numbers = network(torch.tensor([[1, 2]])).detach().sum(-1)
        assert bool(numbers.isfinite().all())
        assert float(numbers[0, 0]) == 1.0
        assert numbers.argmax(-1).tolist() == [1]


def test_a_real_mask_chooses_from_a_fake_tensor(mode):
    network = skeleton()
    mode.materialise(network, torch.device("cpu"))
    with mode:
        mask = torch.tensor([[True, False, True]])
        assert network(torch.tensor([[1, 2, 3]]))[mask].shape == (2, 9)


def test_what_is_large_is_fake(mode):
    with mode:
        assert isinstance(torch.zeros(LARGEST_REAL + 1), FakeTensor)
        column = torch.zeros(LARGEST_REAL // 2, 1)
        assert not isinstance(column, FakeTensor)
        assert isinstance(column + torch.zeros(1, 3), FakeTensor)
