"""The comparison on a run's first batch: silent where the capture is right, loud where not."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from abcrl.models import CaptureError, last_positions
from abcrl.models.attention import rows as arithmetic
from abcrl.models.attention.check import verify_capture
from tests.models.attention.attention_cases import (
    CASES,
    READERS,
    WIDTH,
    BuildModel,
    eager_copy,
    ragged_batch,
    run,
    state_of,
)


def full_batch(length: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ids, mask and the last position of two unpadded rows."""
    ids = torch.randint(2, 64, (2, length), generator=torch.Generator().manual_seed(1))
    return ids, torch.ones_like(ids, dtype=torch.bool), torch.full((2, 1), length - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", CASES)
def test_every_architecture_passes_and_is_left_as_found(
    tiny_causal_lm: BuildModel, name, padding, dtype
):
    model = CASES[name].build(tiny_causal_lm).to(dtype)
    ids, mask = ragged_batch(padding)
    before = state_of(model)
    logits = run(model, ids, mask).logits

    difference = verify_capture(model, ids, mask, last_positions(mask)[:, None])

    assert 0 <= difference <= (1e-6 if dtype is torch.float32 else 5e-3)
    assert state_of(model) == before
    assert torch.equal(run(model, ids, mask).logits, logits)


@pytest.mark.parametrize("name", READERS)
def test_a_block_of_rows_a_layer_and_heads_are_verified_as_they_are_used(
    tiny_causal_lm: BuildModel, name
):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("left")
    rows = torch.arange(3, 9).expand(4, 6)  # of the second row's, the first is padding
    assert verify_capture(model, ids, mask, rows, layer=1, heads=[0, 2]) < 1e-5


@pytest.mark.parametrize("padding", ["left", "right"])
def test_long_rows_are_cut_to_what_precedes_the_query(tiny_causal_lm: BuildModel, padding):
    model = CASES["llama"].build(tiny_causal_lm, max_position_embeddings=256)
    ids = torch.randint(2, 64, (3, 200), generator=torch.Generator().manual_seed(1))
    column, lengths = torch.arange(200), torch.tensor([[200], [30], [200]])
    mask = column < lengths if padding == "right" else column >= 200 - lengths
    shapes: set[tuple[int, ...]] = set()
    model.model.embed_tokens.register_forward_hook(
        lambda _, inputs, __: shapes.add(tuple(inputs[0].shape))
    )

    assert verify_capture(model, ids, mask, last_positions(mask)[:, None]) < 1e-5
    assert shapes == {(2, 128)}


def test_a_response_that_ended_long_before_the_window_is_compared(tiny_causal_lm: BuildModel):
    model = CASES["llama"].build(tiny_causal_lm, max_position_embeddings=256)
    P, R = 20, 180
    ids = torch.randint(2, 64, (1, P + R), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(P + R)[None] < P + 3
    rows = torch.arange(P - 1, P + R - 1)[None]
    assert verify_capture(model, ids, mask, rows) < 1e-5


def test_what_a_kernel_puts_out_at_padding_does_not_matter(tiny_causal_lm: BuildModel):
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        real = mask.diagonal(dim1=-2, dim2=-1)[:, 0, :, None, None]  # [B, T, 1, 1]
        return output * real, None  # as flash attention does

    AttentionInterface.register("zero_at_padding", attend)
    AttentionMaskInterface.register("zero_at_padding", sdpa_mask)
    model = CASES["llama"].build(tiny_causal_lm)
    model.set_attn_implementation("zero_at_padding")
    ids, mask = ragged_batch("left")
    assert verify_capture(model, ids, mask, torch.arange(WIDTH).expand(4, WIDTH)) < 1e-5


def test_a_classifier_without_a_padding_token_is_verified(tiny_classifier: BuildModel):
    model = CASES["llama"].build(tiny_classifier, pad_token_id=None)
    ids, mask = ragged_batch("right")
    assert verify_capture(model, ids, mask, last_positions(mask)[:, None]) < 1e-5


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_model_that_peft_has_wrapped_is_verified(tiny_classifier: BuildModel):
    model = CASES["llama"].build(tiny_classifier, pad_token_id=None)
    lora = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, lora).eval()
    ids, mask = ragged_batch("left")
    before = state_of(wrapped)

    assert verify_capture(wrapped, ids, mask, last_positions(mask)[:, None]) < 1e-5
    assert state_of(wrapped) == before


FAULTS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "one row early": lambda query, key, mask: (query.roll(1, 2), key, mask),
    "no mask": lambda query, key, mask: (query, key, mask * 0),
    "heads of another group": lambda query, key, mask: (query[:, [0, 2, 1, 3]], key, mask),
    "not scaled": lambda query, key, mask: (query * 8**0.5, key, mask),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_capture_is_refused_by_name(tiny_causal_lm: BuildModel, fault, dtype, monkeypatch):
    model = CASES["llama"].build(tiny_causal_lm).to(dtype)
    ids, mask, _ = full_batch()
    rows = torch.arange(8, 20).expand(2, 12)
    right = arithmetic.attention_rows

    def wrong(query: Tensor, key: Tensor, mask: Tensor, *asked: Any, **options: Any) -> Tensor:
        return right(*FAULTS[fault](query, key, mask), *asked, **options)

    monkeypatch.setattr(arithmetic, "attention_rows", wrong)
    before = state_of(model)

    with pytest.raises(CaptureError) as refused:
        verify_capture(model, ids, mask, rows)

    message = str(refused.value)
    assert message.startswith("reward.mode: captured attention must agree with eager attention")
    assert "model type 'llama' with attention 'sdpa'" in message
    assert "choose another model, or reward mode rlhf or uniform" in message
    assert len(message.splitlines()) == 1
    assert state_of(model) == before


def test_a_kernel_that_is_not_the_models_attention_is_refused(tiny_causal_lm: BuildModel):
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, *given: Any, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        return sdpa_attention_forward(module, query, key.flip(2), *given, **options)

    AttentionInterface.register("backwards", attend)
    AttentionMaskInterface.register("backwards", sdpa_mask)
    model = CASES["llama"].build(tiny_causal_lm)
    model.set_attn_implementation("backwards")
    ids, mask, rows = full_batch()

    with pytest.raises(CaptureError, match=r"'llama' with attention 'backwards' in torch.float32"):
        verify_capture(model, ids, mask, rows)

    assert model.config._attn_implementation == "backwards"


def test_attention_that_is_not_a_number_is_refused(tiny_causal_lm: BuildModel):
    model = CASES["llama"].build(tiny_causal_lm)
    model.model.embed_tokens.weight.data.fill_(torch.nan)
    with pytest.raises(CaptureError, match="received nan"):
        verify_capture(model, *full_batch())


@pytest.mark.parametrize("name", READERS)
def test_the_model_is_restored_when_it_fails(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask, rows = full_batch()
    before = state_of(model)
    calls: list[object] = []

    def fail_in_the_eager_pass(*_: object) -> None:
        calls.append(model.config._attn_implementation)
        if len(calls) == 2:
            raise KeyError

    hook = model.base_model.register_forward_pre_hook(fail_in_the_eager_pass)
    with pytest.raises(KeyError):
        verify_capture(model, ids, mask, rows)
    hook.remove()

    assert calls[1] == "eager"
    assert state_of(model) == before


def test_recorders_that_were_there_before_stay(tiny_causal_lm: BuildModel):
    model = CASES["llama"].build(tiny_causal_lm)
    ids, mask, rows = full_batch()
    model.set_attn_implementation("eager")
    expected = run(model, ids, mask, output_attentions=True).attentions[-1]
    before = state_of(model)

    verify_capture(model, ids, mask, rows)

    assert state_of(model) == before
    assert torch.equal(run(model, ids, mask, output_attentions=True).attentions[-1], expected)


def test_attentions_can_be_asked_for_afterwards(tiny_causal_lm: BuildModel):
    model = CASES["llama"].build(tiny_causal_lm)
    ids, mask, rows = full_batch()
    verify_capture(model, ids, mask, rows)
    assert len(run(eager_copy(model), ids, mask, output_attentions=True).attentions) == 3


def test_eager_falcon_still_adds_its_alibi_twice(tiny_causal_lm: BuildModel):
    # When this fails, transformers has mended it: check._without_alibi can go.
    model = CASES["falcon alibi"].build(tiny_causal_lm)
    ids, mask, _ = full_batch()
    twice: Any = CASES["falcon alibi"].build(tiny_causal_lm)
    for module in twice.modules():
        if "config" in vars(module):
            module.config._attn_implementation_internal = "eager"
    logits = run(model, ids, mask).logits
    assert (run(twice, ids, mask).logits - logits).abs().amax() > 0.01
    assert (run(eager_copy(model), ids, mask).logits - logits).abs().amax() < 1e-5
