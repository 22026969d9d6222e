"""Which layer, heads and columns; what a kernel may be given in place of a full mask."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import flash_attention_mask, sdpa_mask
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from abcrl.models import CaptureError, capture_attention, last_positions
from tests.models.attention.attention_cases import (
    CASES,
    READERS,
    WIDTH,
    BuildModel,
    eager_attention,
    eager_maps,
    ragged_batch,
    rows_of,
    run,
)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("name", [*READERS, "gemma2"])
def test_the_layer_that_is_asked_for_is_captured(tiny_causal_lm: BuildModel, name, layer):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]

    with capture_attention(model, last, layer=layer) as capture:
        run(model, ids, mask)

    expected = eager_maps(model, ids, mask, layer).mean(1)
    assert_close(capture.result(), rows_of(expected, last), atol=1e-6, rtol=0)


@pytest.mark.parametrize("heads", [[0], [3], [1, 2], [3, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("name", [*READERS, "mistral", "gemma2", "falcon new"])
def test_the_mean_is_over_the_heads_that_are_asked_for(tiny_causal_lm: BuildModel, name, heads):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    last, every = last_positions(mask)[:, None], torch.arange(WIDTH).expand(4, WIDTH)

    with (
        capture_attention(model, last, heads=heads) as one,
        capture_attention(model, every, heads=heads) as all_rows,
    ):
        run(model, ids, mask)

    maps = eager_maps(model, ids, mask)
    expected = maps[:, heads].mean(1)
    if len(heads) < 4:
        assert (expected - maps.mean(1))[mask].abs().amax() > 0.05  # heads differ
    assert_close(one.result(), rows_of(expected, last), atol=1e-6, rtol=0)
    assert_close(all_rows.result()[mask], expected[mask], atol=1e-6, rtol=0)


@pytest.mark.parametrize("columns", [slice(3, 9), slice(8, None), slice(0, 1), slice(-4, -1)])
@pytest.mark.parametrize("name", READERS)
def test_columns_are_cut(tiny_causal_lm: BuildModel, name, columns):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    last, every = last_positions(mask)[:, None], torch.arange(WIDTH).expand(4, WIDTH)

    with (
        capture_attention(model, last, columns=columns) as one,
        capture_attention(model, every, columns=columns) as all_rows,
    ):
        run(model, ids, mask)

    expected = eager_attention(model, ids, mask)[..., columns]
    assert_close(one.result(), rows_of(expected, last), atol=1e-6, rtol=0)
    assert_close(all_rows.result()[mask], expected[mask], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["mistral", "qwen2 sliding", "gemma2"])
def test_a_sliding_window_closes_the_row(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)  # window 4
    ids, mask = ragged_batch("right")

    with capture_attention(model, torch.tensor([[10], [7], [3], [0]])) as capture:
        run(model, ids, mask)

    assert (capture.result()[0, 0] > 0).tolist() == [False] * 7 + [True] * 4


@pytest.mark.parametrize("name", [*READERS, "gpt2", "falcon alibi"])
def test_one_head_only(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm, num_attention_heads=1, num_key_value_heads=1)
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]

    with capture_attention(model, last) as capture:
        run(model, ids, mask)

    expected = rows_of(eager_attention(model, ids, mask), last)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def unmasked_kernel() -> str:
    """An attention function that is given what flash attention is: no mask, or the padding."""

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        sliding_window: int | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        B, T = query.shape[0], query.shape[2]
        seen = torch.ones(T, T, dtype=torch.bool).tril()
        if sliding_window is not None:
            seen = seen.triu(1 - sliding_window)
        seen = seen.expand(B, 1, T, T)
        if attention_mask is not None:
            assert attention_mask.ndim == 2
            seen = seen & attention_mask[:, None, None, :].bool()
        return sdpa_attention_forward(module, query, key, value, seen, **options)

    AttentionInterface.register("unmasked_kernel", attend)
    AttentionMaskInterface.register("unmasked_kernel", flash_attention_mask)
    return "unmasked_kernel"


@pytest.mark.parametrize("padding", ["left", "right", "none"])
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_rows_are_right_when_the_kernel_is_given_no_full_mask(
    tiny_causal_lm: BuildModel, unmasked_kernel: str, name, padding
):
    model = CASES[name].build(tiny_causal_lm)
    model.set_attn_implementation(unmasked_kernel)
    ids, mask = ragged_batch("left" if padding == "none" else padding)
    mask = torch.ones_like(mask) if padding == "none" else mask
    rows = last_positions(mask)[:, None]

    with capture_attention(model, rows) as capture:
        run(model, ids, mask)

    expected = rows_of(eager_attention(model, ids, mask), rows)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


def test_soft_capping_in_a_fast_kernel_is_reproduced(tiny_causal_lm: BuildModel):
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo().min)
        output, _ = eager_attention_forward(module, query, key, value, additive, **options)
        return output, None

    AttentionInterface.register("capped_kernel", attend)
    AttentionMaskInterface.register("capped_kernel", sdpa_mask)
    model = CASES["gemma2"].build(tiny_causal_lm)
    model.set_attn_implementation("capped_kernel")
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]

    with capture_attention(model, last) as capture:
        run(model, ids, mask)

    expected = rows_of(eager_attention(model, ids, mask), last)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", [3, -4, 100])
@pytest.mark.parametrize("name", READERS)
def test_a_layer_that_is_not_there_is_refused(tiny_causal_lm: BuildModel, name, layer):
    model = CASES[name].build(tiny_causal_lm)
    message = rf"^reward.layer: must be from -3 to 2, .* {name} .*, received {layer}; choose"
    with (
        pytest.raises(CaptureError, match=message),
        capture_attention(model, torch.zeros(1, 1, dtype=torch.long), layer=layer),
    ):
        pytest.fail("the context was entered")


@pytest.mark.parametrize("heads", [[], [4], [-1], [0, 0], [1, 7]])
@pytest.mark.parametrize("name", [*READERS, "gpt2", "bloom"])
def test_heads_that_are_not_there_are_refused(tiny_causal_lm: BuildModel, name, heads):
    model = CASES[name].build(tiny_causal_lm)
    with (
        pytest.raises(CaptureError, match=r"^reward.heads: .* heads from 0 to 3, received \["),
        capture_attention(model, torch.zeros(1, 1, dtype=torch.long), heads=heads),
    ):
        pytest.fail("the context was entered")
