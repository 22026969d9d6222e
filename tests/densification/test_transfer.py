"""Transfer: what lies on the reward model's tokens reaches the policy's, in proportion."""

import importlib
import re
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from abcrl.densification import Evidence, assign_credit, transfer

NAN, INF = float("nan"), float("inf")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
many = settings(max_examples=300)

# "unhappy end", as the policy wrote it: un|happy| end|EOS, and as the reward model reads it behind
# its BOS and a prompt: BOS|So:|unha|ppy| |end|EOS. Overlap in bytes.
OVERLAP = torch.tensor(
    [
        [0, 0, 0, 0],  # BOS
        [0, 0, 0, 0],  # So:
        [2, 2, 0, 0],  # unha: un + ha
        [0, 3, 0, 0],  # ppy
        [0, 0, 1, 0],  # the space
        [0, 0, 3, 0],  # end
        [0, 0, 0, 1],  # EOS to EOS
    ],
    dtype=torch.float32,
)[None]
ATTENTION = torch.tensor([[0.3, 0.1, 0.2, 0.1, 0.05, 0.15, 0.1]])
MASK = torch.ones(1, 4, dtype=torch.bool)


def close(values: Tensor, expected: object) -> bool:
    return torch.allclose(values, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)


def test_without_a_mask_every_column_counts():
    attention = torch.tensor([[0.2, 0.3, 0.5]])
    overlap = torch.tensor([[[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]])
    whole = torch.ones(1, 2, dtype=torch.bool)
    for omitted, named in zip(
        transfer(attention, overlap), transfer(attention, overlap, whole), strict=True
    ):
        assert torch.equal(omitted, named)
    assert transfer(attention, overlap).dropped_share == 0.5
    with pytest.raises(ValueError, match=r"overlap must have shape \[B, S, R\], received \[3, 2\]"):
        transfer(attention, overlap[0])


def test_a_table_to_check_with_a_pencil():
    attention, dropped = transfer(ATTENTION, OVERLAP, MASK)
    # un: half of unha, 0.1. happy: the other half and all of ppy, 0.1 + 0.1. end: 0.05 + 0.15.
    assert close(attention, [[0.1, 0.2, 0.2, 0.1]])
    assert close(dropped, [0.3 + 0.1])  # BOS and prompt
    # Normalised where all credit is: 0.1 / 0.6 and so on.
    weights = assign_credit("abc", Evidence(MASK, attention)).weights
    assert close(weights, [[1 / 6, 2 / 6, 2 / 6, 1 / 6]])


@pytest.mark.parametrize(
    ("overlap", "expected", "dropped"),
    [
        ([[4, 0], [4, 0]], [0.8, 0], 0.2),  # two tokens merged into one; the other gets nothing
        ([[3, 1], [0, 0]], [0.15, 0.05], 0.8),  # one token split three to one
        ([[0.75, 0.25], [0, 0]], [0.15, 0.05], 0.8),  # in any unit
        ([[0, 2], [1, 0]], [0.6, 0.2], 0.2),  # any order
        ([[0, 0], [0, 0]], [0, 0], 1),  # the response is nowhere in what was read
    ],
)
def test_small_tables(overlap, expected, dropped):
    attention = torch.tensor([[0.2, 0.6, 0.2]])
    table = torch.tensor([[*overlap, [0, 0]]], dtype=torch.float32)
    arrived, share = transfer(attention, table, MASK[:, :2])
    assert close(arrived, [expected])
    assert close(share, [dropped])


def test_columns_off_the_response_are_not_read():
    mask = torch.tensor([[True, True, False, False]])
    for value in (0.0, 5.0, NAN, -1.0):
        overlap = OVERLAP.masked_fill(~mask[:, None, :], value)
        attention, dropped = transfer(ATTENTION, overlap, mask)
        assert close(attention, [[0.1, 0.2, 0, 0]])
        assert close(dropped, [0.7])  # " ", end and EOS besides


def test_a_row_without_attention_drops_nothing_and_falls_back():
    attention, dropped = transfer(torch.zeros_like(ATTENTION), OVERLAP, MASK)
    assert attention.tolist() == [[0, 0, 0, 0]]
    assert dropped.tolist() == [0]
    assert assign_credit("abc", Evidence(MASK, attention)).fell_back.tolist() == [True]


@st.composite
def cases(draw):
    """Attention of up to four rows of 12 tokens, an overlap with empty rows, and a mask."""
    B, S, R = (draw(st.integers(1, most)) for most in (4, 12, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from(DTYPES))

    def numbers(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    attention = numbers(B, S).softmax(-1) if draw(st.booleans()) else numbers(B, S)
    overlap = (6 * numbers(B, S, R)).floor() * (numbers(B, S, R) < 0.4) * (numbers(B, S, 1) < 0.7)
    mask = numbers(B, R) < 0.7
    mask[:, draw(st.integers(0, R - 1))] = True
    return attention.to(dtype), overlap.to(draw(st.sampled_from(DTYPES))), mask


@many
@given(cases())
def test_no_attention_is_lost_or_made(case):
    attention, overlap, mask = case
    arrived, dropped = transfer(attention, overlap, mask)
    assert arrived.dtype == dropped.dtype == torch.float32
    assert (arrived >= 0).all()
    assert (arrived[~mask] == 0).all()
    assert ((dropped >= 0) & (dropped <= 1 + 1e-6)).all()
    given_mass = attention.float().double().sum(-1)
    kept = arrived.double().sum(-1) + dropped.double() * given_mass
    assert ((kept - given_mass).abs() <= 1e-6 * given_mass.clamp(min=1)).all()


@many
@given(cases())
def test_it_follows_the_definition(case):
    attention, overlap, mask = case
    arrived, _ = transfer(attention, overlap, mask)
    for b in range(len(mask)):
        expected = [0.0] * mask.shape[1]
        for mass, row in zip(attention[b].float().tolist(), overlap[b].tolist(), strict=True):
            counted = [bytes_ if on else 0 for bytes_, on in zip(row, mask[b], strict=True)]
            for j, shared in enumerate(counted):
                expected[j] += mass * shared / sum(counted) if shared else 0
        assert close(arrived[b], expected)


@many
@given(cases(), st.integers(0, 3), st.integers(0, 3))
def test_a_row_does_not_depend_on_its_batch(case, columns, tokens):
    attention, overlap, mask = case
    arrived, dropped = transfer(attention, overlap, mask)
    pad = torch.nn.functional.pad
    for b in range(len(mask)):
        alone = transfer(
            pad(attention[b : b + 1], (0, tokens)),
            pad(overlap[b : b + 1], (0, columns, 0, tokens)),
            pad(mask[b : b + 1], (0, columns)),
        )
        width = mask.shape[1]
        torch.testing.assert_close(alone.attention[0, :width], arrived[b], rtol=0, atol=1e-6)
        torch.testing.assert_close(alone.dropped_share[0], dropped[b], rtol=0, atol=1e-6)


@many
@given(cases(), st.integers(1, 300))
def test_tokens_that_are_the_same_hand_over_what_they_have(case, size):
    attention = case[0]
    B, S = attention.shape
    mask = torch.ones(B, S, dtype=torch.bool)
    arrived, dropped = transfer(attention, size * torch.eye(S).expand(B, S, S), mask)
    assert torch.equal(arrived, attention.float())
    assert dropped.tolist() == [0] * B


def test_a_thousand_tokens_keep_their_mass():
    generator = torch.Generator().manual_seed(0)
    attention = torch.randn(2, 1000, generator=generator).softmax(-1)
    overlap = torch.rand(2, 1000, 900, generator=generator)
    arrived, dropped = transfer(attention, overlap, torch.ones(2, 900, dtype=torch.bool))
    assert ((arrived.double().sum(-1) + dropped - 1).abs() <= 1e-6).all()


def changed(values: Tensor, index: Any, value: float) -> Tensor:
    values = values.clone()
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"response_mask": MASK.int()}, "response_mask must be bool, received torch.int32"),
        ({"response_mask": ~MASK}, "response_mask must have a response token in every row"),
        ({"attention": ATTENTION.tolist()}, "attention must be a torch.Tensor, received list"),
        ({"attention": ATTENTION.long()}, "attention must be floating point, received torch.int64"),
        ({"attention": ATTENTION[0]}, "attention must have shape [B, 7] = [1, 7], received [7]"),
        ({"attention": ATTENTION.expand(2, 7)}, "attention must have shape [B, 7] = [1, 7]"),
        ({"attention": ATTENTION[:, :3]}, "overlap must have shape [B, 3, R] = [1, 3, 4]"),
        ({"attention": ATTENTION.to("meta")}, "attention must be on the device of response_mask"),
        (
            {"attention": changed(ATTENTION, (0, 2), NAN)},
            "attention must be finite in float32 and >= 0, received nan at index [0, 2]",
        ),
        (
            {"attention": changed(ATTENTION, (0, 1), -0.5)},
            "attention must be finite in float32 and >= 0, received -0.5 at index [0, 1]",
        ),
        (
            {"attention": torch.full((1, 7), 1e38)},
            "sum of attention must be finite in float32, received inf at index [0]",
        ),
        ({"overlap": OVERLAP[0]}, "overlap must have shape [B, 7, R] = [1, 7, 4], received [7, 4]"),
        ({"overlap": OVERLAP.bool()}, "overlap must be floating point, received torch.bool"),
        (
            {"overlap": changed(OVERLAP, (0, 4, 1), -1)},
            "overlap must be finite in float32 and >= 0 on the response, received -1 at index "
            "[0, 4, 1]",
        ),
        ({"overlap": changed(OVERLAP, (0, 0, 3), INF)}, "overlap must be finite in float32"),
    ],
)
def test_refusals(changes, start):
    arguments = {"attention": ATTENTION, "overlap": OVERLAP, "response_mask": MASK} | changes
    with pytest.raises(ValueError, match=rf"\A{re.escape(start)}[^\n]*; [^\n]+\Z"):
        transfer(**arguments)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.counts[str(operation)] += 1
        return operation(*args, **(kwargs or {}))


def batch_of(sizes: tuple[int, int, int], device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    overlap = torch.ones(sizes, device=device)
    return overlap[:, :, 0], overlap, overlap[:, 0] > 0


def test_one_wait_for_the_device_and_no_loop():
    counts = []
    for sizes in ((1, 2, 3), (9, 17, 33)):
        batch = batch_of(sizes)
        with Operations() as operations:
            transfer(*batch)
        counts.append(operations.counts)
    assert counts[0] == counts[1]
    assert counts[0]["aten._local_scalar_dense.default"] == 1


def test_everything_stays_on_the_device_of_the_inputs(monkeypatch):
    # The meta device holds no values to check. (The package's `transfer` is the function.)
    module = importlib.import_module("abcrl.densification.transfer")
    monkeypatch.setattr(module, "enforce", lambda *_rules: None)
    assert {each.device.type for each in transfer(*batch_of((2, 3, 4), "meta"))} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_with_the_cpu():
    on_gpu = transfer(ATTENTION.cuda(), OVERLAP.cuda(), MASK.cuda())
    on_cpu = transfer(ATTENTION, OVERLAP, MASK)
    torch.testing.assert_close(on_gpu, on_cpu, check_device=False, rtol=0, atol=1e-6)


def test_autocast_and_default_dtype_change_nothing():
    plain = transfer(ATTENTION, OVERLAP, MASK)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again = transfer(ATTENTION, OVERLAP, MASK)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(again.attention, plain.attention)
    assert torch.equal(again.dropped_share, plain.dropped_share)


def test_no_gradient_flows_and_inputs_are_left_alone():
    attention, overlap = ATTENTION.clone().requires_grad_(), OVERLAP.clone().requires_grad_()
    result = transfer(attention, overlap, MASK)
    assert not any(each.requires_grad for each in result)
    assert torch.equal(attention, ATTENTION)
    assert torch.equal(overlap, OVERLAP)
