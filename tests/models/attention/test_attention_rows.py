"""The arithmetic of the rows, against a softmax written out in full."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from abcrl.models.attention.rows import Capture


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Queries, keys, what is masked and in which form; which rows, heads and columns are wanted."""
    B, shared, G, T, D, Q = (draw(st.integers(1, n)) for n in (3, 3, 3, 7, 4, 4))
    H = shared * G
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    lengths = torch.randint(1, T + 1, (B, 1), generator=generator)
    right = draw(st.booleans())
    padding = torch.arange(T) < lengths if right else torch.arange(T) >= T - lengths
    # Rows of real tokens: what padding attends to is nobody's credit.
    offset = (torch.rand(B, Q, generator=generator) * lengths).long()
    window = draw(st.none() | st.integers(1, T))
    seen = torch.ones(T, T, dtype=torch.bool).tril().triu(1 - (window or T)).expand(B, 1, T, T)
    form = draw(st.sampled_from(["none", "padding", "bool", "float", "per head"]))
    if form != "none":
        seen = seen & padding[:, None, None, :]
    bias = torch.zeros(B, 1, 1, T)
    if form in ("float", "per head"):
        bias = torch.randn(B, H if form == "per head" else 1, 1, T, generator=generator)
    additive = bias.expand(-1, -1, T, -1).masked_fill(~seen, torch.finfo().min)
    first = draw(st.integers(0, T - 1))
    return {
        "query": 2 * torch.randn(B, H, T, D, generator=generator),
        "key": 2 * torch.randn(B, G, T, D, generator=generator),
        "mask": {"none": None, "padding": padding.long(), "bool": seen}.get(form, additive),
        "additive": additive,
        "window": window if form in ("none", "padding") else None,
        "rows": offset if right else T - 1 - offset,
        "scaling": draw(st.none() | st.floats(0.2, 2)),
        "softcap": draw(st.none() | st.floats(0.5, 5)),
        "heads": draw(st.none() | st.lists(st.integers(0, H - 1), min_size=1, unique=True)),
        "columns": slice(first, draw(st.integers(first + 1, T))),
    }


def written_out(asked: dict[str, Any]) -> Tensor:
    """Returns the rows from the whole attention of every head, in float64, [B, Q, K]."""
    query, key = asked["query"].double(), asked["key"].double()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scaling = query.shape[-1] ** -0.5 if asked["scaling"] is None else asked["scaling"]
    logits = query @ key.transpose(-1, -2) * scaling
    if asked["softcap"] is not None:
        logits = asked["softcap"] * torch.tanh(logits / asked["softcap"])
    attention = (logits + asked["additive"].double()).softmax(-1)
    heads = attention if asked["heads"] is None else attention[:, asked["heads"]]
    rows = asked["rows"][..., None].expand(-1, -1, attention.shape[-1])
    expected: Tensor = heads.mean(1).gather(1, rows)[..., asked["columns"]]
    return expected


@settings(max_examples=300)
@given(questions())
def test_rows_equal_the_softmax_written_out(asked):
    heads = None if asked["heads"] is None else tuple(asked["heads"])
    capture = Capture(asked["rows"], asked["columns"], heads)

    capture.read_projections(
        asked["query"],
        asked["key"],
        asked["mask"],
        scaling=asked["scaling"],
        window=asked["window"],
        softcap=asked["softcap"],
    )

    assert capture.result().dtype == torch.float32
    assert_close(capture.result().double(), written_out(asked), atol=1e-6, rtol=0)


def test_rows_are_float32_under_autocast():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 2, 4, 6, 8, generator=generator).unbind()
    captures = [Capture(torch.tensor([[5], [3]]), slice(None), None) for _ in range(2)]

    captures[0].read_projections(query, key, None, scaling=None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        captures[1].read_projections(query, key, None, scaling=None)

    assert torch.equal(captures[0].result(), captures[1].result())


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the number of elements that every tensor made by an operation keeps."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):  # by storage: a view keeps nothing of its own
            storage = output.untyped_storage()
            self.made[storage.data_ptr()] = storage.nbytes() // output.element_size()
        return output


@pytest.mark.parametrize("masked", [False, True])
def test_one_row_makes_and_keeps_nothing_of_size_t_by_t(masked):
    B, H, G, T, D = 2, 4, 2, 97, 8
    query, key = torch.randn(B, H, T, D), torch.randn(B, G, T, D)
    mask = torch.ones(T, T, dtype=torch.bool).tril().expand(B, 1, T, T) if masked else None
    capture = Capture(torch.full((B, 1), T - 1), slice(5, T), None)

    with _Sizes() as sizes:
        capture.read_projections(query, key, mask, scaling=None)

    given = {
        tensor.untyped_storage().data_ptr() for tensor in (query, key, mask) if tensor is not None
    }
    new = [size for storage, size in sizes.made.items() if storage not in given]
    assert max(new) <= B * H * T * D < B * T * T
    kept = capture.result()
    assert kept.untyped_storage().nbytes() == kept.numel() * 4


def test_many_rows_are_taken_one_head_at_a_time():
    B, H, T, Q, D = 2, 8, 97, 60, 4
    query, key = torch.randn(B, H, T, D), torch.randn(B, 1, T, D)
    capture = Capture(torch.arange(30, 30 + Q).expand(B, Q), slice(None), None)

    with _Sizes() as sizes:
        capture.read_projections(query, key, None, scaling=None)

    assert max(sizes.made.values()) <= B * Q * T
