"""Captured rows against eager attention with the same weights, and what the capture leaves alone.

Exactness matters: a capture that reads one row too late, forgets a mask or repeats the wrong
key-value heads still gives plausible credit.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import flash_attention_mask

from abcrl.config import InputError
from abcrl.models import (
    PolicyWithValueHead,
    RewardModel,
    capture_attention,
    last_positions,
    position_ids,
)
from abcrl.models.attention import attention_rows, last_attention_module

BuildModel = Callable[..., PreTrainedModel]

# llama, mistral and qwen3 with two key-value heads for four, gemma with one; mistral slides.
ARCHITECTURES = ["gpt2", "llama", "mistral", "qwen3", "gpt_neox", "opt", "phi", "gemma"]
WIDTH = 11


def ragged_batch(padding: str) -> tuple[Tensor, Tensor]:
    """Returns ids (random in the padding too) and a mask: rows of 11, 8, 4 and 1 tokens."""
    ids = torch.randint(2, 64, (4, WIDTH), generator=torch.Generator().manual_seed(3))
    column, lengths = torch.arange(WIDTH), torch.tensor([[11], [8], [4], [1]])
    return ids, column < lengths if padding == "right" else column >= WIDTH - lengths


def run(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> Any:
    with torch.no_grad():
        return model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=position_ids(mask),
            use_cache=False,
            **options,
        )


def eager_attention(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Returns the last layer's whole attention map, mean over heads, of an eager copy."""
    eager: Any = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    attention: Tensor = run(eager, ids, mask, output_attentions=True).attentions[-1].mean(1)
    return attention


def rows_of(attention: Tensor, rows: Tensor) -> Tensor:
    return attention.gather(1, rows[..., None].expand(-1, -1, attention.shape[-1]))


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reward_row_equals_eager_attention_at_the_scored_position(
    tiny_classifier: BuildModel, architecture, padding
):
    model = tiny_classifier(architecture)
    ids, mask = ragged_batch(padding)

    captured = RewardModel(model).score(ids, mask, with_attention=True).attention

    assert captured is not None
    assert captured.dtype == torch.float32
    backbone: Any = model.base_model
    expected = rows_of(eager_attention(backbone, ids, mask), last_positions(mask)[:, None])[:, 0]
    assert expected.std() > 0.05  # nothing would be tested by attention that is uniform
    assert_close(captured, expected, atol=1e-6, rtol=0)
    assert (captured[~mask] == 0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_policy_block_equals_eager_attention_at_response_positions(
    tiny_causal_lm: BuildModel, architecture
):
    model = tiny_causal_lm(architecture)
    P, R = 5, WIDTH - 5
    ids, left = ragged_batch("left")
    mask = left.clone()
    mask[:, P - 1] = True  # each prompt has a token
    mask[:, P:] = torch.arange(R) < torch.tensor([[6], [4], [1], [2]])
    rows = torch.arange(P - 1, P + R - 1).expand(4, R)

    with capture_attention(model, rows, columns=slice(P, P + R)) as capture, torch.no_grad():
        PolicyWithValueHead(model, seed=0)(ids, mask, R)

    captured = capture.result()
    assert captured.shape == (4, R, R)
    real = mask[:, P - 1 : -1]  # rows that a response token or the prompt's end asks from
    expected = rows_of(eager_attention(model, ids, mask), rows)[..., P:]
    assert_close(captured[real], expected[real], atol=1e-6, rtol=0)
    assert (captured.triu()[real] == 0).all()  # what is written later cannot be seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_identical_inside_the_capture(tiny_causal_lm: BuildModel, architecture):
    model = tiny_causal_lm(architecture)
    ids, mask = ragged_batch("left")

    outside = run(model, ids, mask).logits
    with capture_attention(model, last_positions(mask)[:, None]):
        inside = run(model, ids, mask).logits

    assert torch.equal(inside, outside)


def test_a_sliding_window_closes_the_row(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("mistral")  # window 4
    ids, mask = ragged_batch("right")

    with capture_attention(model, torch.tensor([[10], [7], [3], [0]])) as capture:
        run(model, ids, mask)

    assert (capture.result()[0, 0] > 0).tolist() == [False] * 7 + [True] * 4


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
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_rows_are_right_when_the_kernel_is_given_no_full_mask(
    tiny_causal_lm: BuildModel, unmasked_kernel: str, architecture, padding
):
    model: Any = tiny_causal_lm(architecture)
    model.set_attn_implementation(unmasked_kernel)
    ids, mask = ragged_batch("left" if padding == "none" else padding)
    mask = torch.ones_like(mask) if padding == "none" else mask
    rows = last_positions(mask)[:, None]

    with capture_attention(model, rows) as capture:
        run(model, ids, mask)

    expected = rows_of(eager_attention(model, ids, mask), rows)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


def test_rows_are_right_in_bfloat16(tiny_causal_lm: BuildModel):
    model: Any = tiny_causal_lm("llama")
    ids, mask = ragged_batch("right")
    rows = last_positions(mask)[:, None]
    expected = rows_of(eager_attention(model, ids, mask), rows)

    model.to(torch.bfloat16)
    with capture_attention(model, rows) as capture:
        run(model, ids, mask)

    assert capture.result().dtype == torch.float32
    assert_close(capture.result().sum(-1), torch.ones(4, 1), atol=1e-6, rtol=0)
    assert_close(capture.result(), expected, atol=1e-2, rtol=0)


def test_an_eager_model_can_be_captured_too(tiny_causal_lm: BuildModel):
    model: Any = tiny_causal_lm("gpt2")
    model.set_attn_implementation("eager")
    ids, mask = ragged_batch("left")
    rows = last_positions(mask)[:, None]

    with capture_attention(model, rows) as capture:
        run(model, ids, mask)

    expected = rows_of(eager_attention(model, ids, mask), rows)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


def attention_configs(model: PreTrainedModel) -> Iterator[tuple[str, object]]:
    """Yields every module's configuration, as an object with an identity."""
    for name, module in model.named_modules():
        if "config" in vars(module):
            yield name, module.config


@pytest.mark.parametrize("failing", ["nothing", "caller", "model"])
def test_the_module_is_restored(tiny_causal_lm: BuildModel, failing):
    model = tiny_causal_lm("llama")
    ids, mask = ragged_batch("right")
    module = last_attention_module(model)
    before, attributes = dict(attention_configs(model)), set(vars(module))

    def use() -> None:
        with capture_attention(model, last_positions(mask)[:, None]):
            run(model, ids + 1000 if failing == "model" else ids, mask)
            if failing == "caller":
                raise KeyError

    if failing == "nothing":
        use()
    else:
        with pytest.raises(KeyError if failing == "caller" else IndexError):
            use()

    after = dict(attention_configs(model))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert set(vars(module)) == attributes
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_last_attention_module_is_touched(tiny_causal_lm: BuildModel, architecture):
    model = tiny_causal_lm(architecture)
    ids, mask = ragged_batch("right")
    before = dict(attention_configs(model))

    with capture_attention(model, last_positions(mask)[:, None]):
        inside = dict(attention_configs(model))
        run(model, ids, mask)

    touched = [name for name in before if inside[name] is not before[name]]
    modules = dict(model.named_modules())
    assert [modules[name] for name in touched] == [last_attention_module(model)]
    assert [modules[name].layer_idx for name in touched] == [2]
    assert model.config._attn_implementation == "sdpa"


def test_two_captures_of_one_model_coexist(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("gpt2")
    ids, mask = ragged_batch("right")
    expected = eager_attention(model, ids, mask)
    last, first = last_positions(mask)[:, None], torch.zeros(4, 2, dtype=torch.long)

    with capture_attention(model, last) as outer:
        with capture_attention(model, first, columns=slice(0, 3)) as inner:
            run(model, ids, mask)
        alone = outer.result()
        changed = (ids + 1) % 64
        run(model, changed, mask)

    assert_close(inner.result(), rows_of(expected, first)[..., :3], atol=1e-6, rtol=0)
    assert_close(alone, rows_of(expected, last), atol=1e-6, rtol=0)
    # The inner one has ended: the second run is the outer one's alone.
    expected = rows_of(eager_attention(model, changed, mask), last)
    assert_close(outer.result(), expected, atol=1e-6, rtol=0)


def test_captures_of_two_models_coexist(tiny_causal_lm: BuildModel):
    models = [tiny_causal_lm("llama", seed=1), tiny_causal_lm("llama", seed=2)]
    ids, mask = ragged_batch("right")
    rows = last_positions(mask)[:, None]

    with capture_attention(models[0], rows) as first, capture_attention(models[1], rows) as second:
        run(models[1], ids, mask)
        run(models[0], ids, mask)

    for model, capture in zip(models, (first, second), strict=True):
        expected = rows_of(eager_attention(model, ids, mask), rows)
        assert_close(capture.result(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", ["bloom", "falcon", "gptj"])
def test_an_architecture_outside_the_attention_interface_is_refused_by_name(
    tiny_classifier: BuildModel, architecture
):
    model = tiny_classifier(architecture)
    ids, mask = ragged_batch("right")
    scores = RewardModel(model).score(ids, mask, with_attention=False).scores

    with pytest.raises(InputError, match=f"reward.mode: .*'{architecture}'") as refused:
        RewardModel(model).score(ids, mask, with_attention=True)

    assert len(str(refused.value).splitlines()) == 1
    again = RewardModel(model).score(ids, mask, with_attention=False).scores
    assert torch.equal(again, scores)  # the refused model is as it was


def test_attention_with_soft_capping_is_refused(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("gemma2")
    ids, mask = ragged_batch("right")

    def use() -> None:
        with capture_attention(model, last_positions(mask)[:, None]):
            run(model, ids, mask)

    with pytest.raises(InputError, match="softcap"):
        use()


def test_a_model_that_has_not_run_has_no_result(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("gpt2")

    def use() -> None:
        with capture_attention(model, torch.zeros(1, 1, dtype=torch.long)) as capture:
            capture.result()

    with pytest.raises(RuntimeError, match="has not run"):
        use()


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the shape of every tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.seen.append(tuple(output.shape))
        return output


def test_a_captured_row_makes_and_keeps_nothing_of_size_t_by_t(tiny_causal_lm: BuildModel):
    model = tiny_causal_lm("llama")
    T = 37
    ids = torch.randint(2, 64, (2, T), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, T, dtype=torch.bool)

    with capture_attention(model, last_positions(mask)[:, None], columns=slice(5, T)) as capture:
        run(model, ids, mask)

    kept = capture.result()
    assert kept.shape == (2, 1, T - 5)
    assert kept.untyped_storage().nbytes() == kept.numel() * 4

    query, key = torch.randn(2, 4, T, 8), torch.randn(2, 2, T, 8)
    no_mask = torch.zeros(2, 1, 1, T)
    with _Shapes() as shapes:
        attention_rows(
            query, key, no_mask, torch.full((2, 1), T - 1), scaling=1.0, columns=slice(None)
        )
    assert shapes.seen
    assert all(shape.count(T) <= 1 for shape in shapes.seen)
