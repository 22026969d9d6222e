"""Memory counted by hand: what is alive, what was, and whose it is."""

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from abcrl.rl.memory.live import LiveMemory, bytes_of, tensors_of

MODES = {"real": contextlib.nullcontext, "fake": FakeTensorMode}


@pytest.fixture(params=list(MODES))
def mode(request):
    return MODES[request.param]()


def test_a_tensor_counts_while_it_lives(mode):
    with mode, LiveMemory() as memory:
        first = torch.ones(10, 100)  # 4,000 bytes of float32
        second = first + 1
        assert memory.live.total() == 8000
        del first
        assert memory.live.total() == 4000
        del second
    assert memory.live.total() == 0
    assert memory.peak == 8000


def test_views_are_no_memory_of_their_own_but_keep_it(mode):
    with mode, LiveMemory() as memory:
        whole = torch.ones(10, 100)
        part = whole.view(-1)[:5]
        del whole
        assert memory.live.total() == 4000
        del part
        assert memory.live.total() == 0


def test_what_was_there_before_does_not_count(mode):
    with mode:
        weight = torch.ones(100, 100)
        with LiveMemory([weight]) as memory:
            product = torch.ones(1, 100) @ weight.t()
            assert memory.live.total() == product.nbytes == 400


def test_what_the_backward_pass_needs_is_alive_until_it_has_run(mode):
    with mode:
        weight = torch.ones(100, 100, requires_grad=True)
        with LiveMemory([weight]) as memory:
            loss = (torch.ones(50, 100) @ weight).tanh().sum()
            # The input, for the weight's gradient; the tanh, for its own; the loss.
            assert memory.live.total() == 20_000 + 20_000 + 4
            torch.autograd.backward(loss)
            del loss
            assert memory.live.total() == 40_000  # the gradient
            # The input, the gradients of product and weight, the loss and its gradient.
            assert memory.peak == 20_000 + 20_000 + 40_000 + 8


def test_labels_share_out_what_is_alive(mode):
    with mode, LiveMemory() as memory:
        one = torch.ones(100)
        memory.switch("others")()
        two = torch.ones(50)
        memory.switch(None)()
        three = torch.ones(999)
        assert dict(memory.live) == {"": 400, "others": 200}
        memory.relabel(one, "others")
        assert dict(memory.live) == {"": 0, "others": 600}
        del one, two, three
    assert memory.live.total() == 0
    assert dict(memory.peaks) == {"": 400, "others": 600}
    assert memory.peak == 600


def test_a_peak_can_begin_anew():
    with LiveMemory() as memory:
        kept = torch.ones(10)
        torch.ones(1000)
        memory.forget_peaks()
        kept + 1
    assert memory.peak == 80


def test_the_allocator_rounds_up():
    with LiveMemory(block=512) as memory:
        _tensors = [torch.ones(1), torch.ones(128), torch.ones(129)]
        assert memory.live.total() == 512 + 512 + 1024


def test_shared_weights_are_counted_once():
    first, second = nn.Linear(10, 20, bias=False), nn.Linear(10, 20, bias=False)
    tensors: list[Tensor] = tensors_of([first, second])
    assert bytes_of(tensors) == 2 * 800
    second.weight = first.weight
    assert bytes_of(tensors_of([first, second])) == 800
