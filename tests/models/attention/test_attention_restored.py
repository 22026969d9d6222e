"""What the capture leaves alone: other modules, the model afterwards, other captures, gradients."""

import contextlib

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from abcrl.models import capture_attention, disable_dropout, last_positions, position_ids
from abcrl.models.attention.layers import attention_module
from tests.models.attention.attention_cases import (
    CASES,
    READERS,
    BuildModel,
    eager_attention,
    eager_maps,
    ragged_batch,
    rows_of,
    run,
    state_of,
)


@pytest.mark.parametrize("failing", ["nothing", "caller", "model"])
@pytest.mark.parametrize("name", CASES)
def test_the_model_is_restored(tiny_causal_lm: BuildModel, name, failing):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    rows = last_positions(mask)[:, None]
    before = state_of(model)

    with contextlib.suppress(KeyError, IndexError), capture_attention(model, rows):
        with capture_attention(model, rows, layer=0, heads=[1]):
            run(model, ids + 1000 if failing == "model" else ids, mask)
            if failing == "caller":
                raise KeyError
        assert failing == "nothing"

    assert state_of(model) == before


@pytest.mark.parametrize("name", CASES)
def test_an_attention_that_fails_inside_is_restored(tiny_causal_lm: BuildModel, name, monkeypatch):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    before = state_of(model)
    out_of_reach = torch.full((4, 1), 99)

    with pytest.raises(RuntimeError, match="99"), capture_attention(model, out_of_reach):
        run(model, ids, mask)

    assert state_of(model) == before


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("name", CASES)
def test_only_the_chosen_attention_module_is_touched(tiny_causal_lm: BuildModel, name, layer):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    before, implementation = state_of(model), model.config._attn_implementation

    with capture_attention(model, last_positions(mask)[:, None], layer=layer):
        inside = state_of(model)
        run(model, ids, mask)

    modules = dict(model.named_modules())
    touched = [modules[name] for name in before if inside[name] != before[name]]
    assert touched == [attention_module(model, layer)]
    assert touched[0].layer_idx == layer % 3
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("name", READERS)
def test_two_captures_of_one_model_coexist(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    maps = eager_maps(model, ids, mask)
    last, first = last_positions(mask)[:, None], torch.zeros(4, 2, dtype=torch.long)

    with capture_attention(model, last) as outer:
        with capture_attention(model, first, columns=slice(0, 3), heads=[2]) as inner:
            run(model, ids, mask)
        alone = outer.result()
        changed = (ids + 1) % 64
        run(model, changed, mask)

    assert_close(inner.result(), rows_of(maps[:, 2], first)[..., :3], atol=1e-6, rtol=0)
    assert_close(alone, rows_of(maps.mean(1), last), atol=1e-6, rtol=0)
    # The inner one has ended: the second run is the outer one's alone.
    expected = rows_of(eager_attention(model, changed, mask), last)
    assert_close(outer.result(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", READERS)
def test_captures_of_two_layers_coexist(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]

    with contextlib.ExitStack() as stack:
        captures = [
            stack.enter_context(capture_attention(model, last, layer=layer)) for layer in range(3)
        ]
        run(model, ids, mask)

    for layer, capture in enumerate(captures):
        expected = rows_of(eager_maps(model, ids, mask, layer).mean(1), last)
        assert_close(capture.result(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("one", "other"), [("llama", "llama"), ("falcon", "gpt2")])
def test_captures_of_two_models_coexist(tiny_causal_lm: BuildModel, one, other):
    models = [CASES[one].build(tiny_causal_lm, seed=1), CASES[other].build(tiny_causal_lm, seed=2)]
    ids, mask = ragged_batch("right")
    rows = last_positions(mask)[:, None]

    with capture_attention(models[0], rows) as first, capture_attention(models[1], rows) as second:
        run(models[1], ids, mask)
        run(models[0], ids, mask)

    for model, capture in zip(models, (first, second), strict=True):
        expected = rows_of(eager_attention(model, ids, mask), rows)
        assert_close(capture.result(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("name", READERS)
def test_the_capture_works_in_every_gradient_mode(tiny_causal_lm: BuildModel, name, mode):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]

    with mode(), capture_attention(model, last) as capture:
        model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=position_ids(mask),
            use_cache=False,
        )

    assert not capture.result().requires_grad
    expected = rows_of(eager_attention(model, ids, mask), last)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


def gradients(model: nn.Module, ids: Tensor, mask: Tensor) -> list[Tensor]:
    model.zero_grad()
    logits = model(
        input_ids=ids, attention_mask=mask.long(), position_ids=position_ids(mask), use_cache=False
    ).logits
    logits.float().square().mean().backward()
    found = [weights.grad for weights in model.parameters() if weights.grad is not None]
    assert found
    return [gradient.clone() for gradient in found]


# The name that transformers 5.10 to 5.23 share; 5.23 prefers activation_checkpointing_enable.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.parametrize("backward", ["inside", "outside"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", [*READERS, "gemma2"])
def test_gradients_are_identical_with_gradient_checkpointing(
    tiny_causal_lm: BuildModel, name, reentrant, backward
):
    model = CASES[name].build(tiny_causal_lm).train()
    disable_dropout(model)
    ids, mask = ragged_batch("left")
    last = last_positions(mask)[:, None]
    plain = gradients(model, ids, mask)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())

    if backward == "inside":
        with capture_attention(model, last) as capture:
            checkpointed = gradients(model, ids, mask)
    else:
        model.zero_grad()
        with capture_attention(model, last) as capture:
            logits = model(
                input_ids=ids,
                attention_mask=mask.long(),
                position_ids=position_ids(mask),
                use_cache=False,
            ).logits
        logits.float().square().mean().backward()
        checkpointed = [weights.grad for weights in model.parameters() if weights.grad is not None]

    assert len(checkpointed) == len(plain)
    assert all(map(torch.equal, checkpointed, plain))
    expected = rows_of(eager_attention(model.eval(), ids, mask), last)
    assert_close(capture.result(), expected, atol=1e-6, rtol=0)


TARGETS = {"llama": ["q_proj", "k_proj"], "falcon": ["query_key_value"], "gptj": ["q_proj"]}


# peft 0.21 asks transformers by a name that transformers 5.23 wants to retire.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_model_that_peft_has_wrapped_is_captured(tiny_causal_lm: BuildModel, name):
    model = CASES[name].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    last = last_positions(mask)[:, None]
    without = rows_of(eager_attention(model, ids, mask), last)
    torch.manual_seed(0)
    lora = peft.LoraConfig(
        r=4, lora_alpha=32, target_modules=TARGETS[name], init_lora_weights=False
    )
    wrapped = peft.get_peft_model(model, lora).eval()
    before = state_of(wrapped)

    with capture_attention(wrapped, last, layer=2) as adapted:
        run(wrapped, ids, mask)
    with wrapped.disable_adapter(), capture_attention(wrapped, last) as plain:
        run(wrapped, ids, mask)

    expected = rows_of(eager_attention(wrapped, ids, mask), last)
    assert (expected - without).abs().amax() > 0.01
    assert_close(adapted.result(), expected, atol=1e-6, rtol=0)
    assert_close(plain.result(), without, atol=1e-6, rtol=0)
    assert state_of(wrapped) == before
