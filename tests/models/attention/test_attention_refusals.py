"""What cannot be captured is refused: by model type, in one line, and the model is as it was."""

from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from abcrl.config import InputError
from abcrl.models import CaptureError, RewardModel, capture_attention, last_positions
from tests.models.attention.attention_cases import (
    CASES,
    WIDTH,
    BuildModel,
    ragged_batch,
    run,
    state_of,
)


@pytest.mark.parametrize(
    ("architecture", "options", "reason"),
    [
        ("bert", {}, "no decoder with one causal attention per layer"),
        ("gpt2", {"add_cross_attention": True}, "no decoder with one causal attention per layer"),
        ("openai-gpt", {"n_layer": 2}, "no attention modules that are numbered by layer"),
        ("mamba", {"state_size": 4}, "no attention modules that are numbered by layer"),
    ],
)
def test_an_architecture_that_cannot_be_read_is_refused_by_name(
    tiny_causal_lm: BuildModel, architecture, options, reason
):
    model = tiny_causal_lm(architecture, **options)
    message = rf"^reward.mode: .* received model type '{architecture}' .*{reason}; choose another"
    with (
        pytest.raises(CaptureError, match=message),
        capture_attention(model, torch.zeros(1, 1, dtype=torch.long)),
    ):
        pytest.fail("the context was entered")


def test_a_kernel_outside_interface_and_sdpa_is_refused(tiny_causal_lm: BuildModel):
    model = CASES["falcon"].build(tiny_causal_lm)
    model.config._attn_implementation_internal = "flash_attention_2"
    with (
        pytest.raises(CaptureError, match="'falcon' with attention 'flash_attention_2'"),
        capture_attention(model, torch.zeros(1, 1, dtype=torch.long)),
    ):
        pytest.fail("the context was entered")


@pytest.mark.parametrize("unknown", ["s_aux", "mask"])
def test_what_a_kernel_is_told_and_cannot_be_reproduced_is_refused(
    tiny_causal_lm: BuildModel, unknown
):
    def as_told(*given: Any, **options: Any) -> Any:
        return object() if unknown == "mask" else sdpa_mask(*given, **options)

    AttentionInterface.register("told", sdpa_attention_forward)
    AttentionMaskInterface.register("told", as_told)
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    model: Any = (
        tiny_causal_lm("gpt_oss", num_key_value_heads=2, head_dim=8, **experts)
        if unknown == "s_aux"
        else tiny_causal_lm("llama")
    )
    for module in model.modules():
        if "config" in vars(module):
            module.config._attn_implementation_internal = "told"
    ids, mask = ragged_batch("right")
    # Only the last layer, where the capture stands before the kernel.
    del model.model.layers[:-1]
    before = state_of(model)

    message = "s_aux" if unknown == "s_aux" else "object"
    with (
        pytest.raises(CaptureError, match=f"received 'told' attention with {message}; choose"),
        capture_attention(model, last_positions(mask)[:, None]),
    ):
        run(model, ids, mask)

    assert state_of(model) == before


def test_a_model_that_has_not_run_has_no_result(tiny_causal_lm: BuildModel):
    model = CASES["gpt2"].build(tiny_causal_lm)
    with (
        pytest.raises(RuntimeError, match="has not run"),
        capture_attention(model, torch.zeros(1, WIDTH, dtype=torch.long)) as capture,
    ):
        capture.result()


def test_a_module_that_runs_and_shows_nothing_is_refused(tiny_causal_lm: BuildModel):
    model = CASES["gptj"].build(tiny_causal_lm)
    ids, mask = ragged_batch("right")
    model.transformer.h[-1].attn.register_forward_hook(lambda _, __, output: (output[0], None))
    with (
        pytest.raises(CaptureError, match=r"'gptj' .* has run without showing it"),
        capture_attention(model, last_positions(mask)[:, None]),
    ):
        run(model, ids, mask)


def test_a_reward_model_that_is_refused_still_scores(tiny_classifier: BuildModel):
    model = tiny_classifier("openai-gpt", n_layer=2)
    ids, mask = ragged_batch("right")
    scores = RewardModel(model).score(ids, mask, with_attention=False).scores

    with pytest.raises(InputError) as refused:
        RewardModel(model).score(ids, mask, with_attention=True)

    assert str(refused.value) == (
        "reward.mode: needs a model whose attention can be captured (gpt2, llama, ...), received "
        "model type 'openai-gpt' with attention 'eager', which has no attention modules that are "
        "numbered by layer; choose another model, or reward mode rlhf or uniform"
    )
    assert torch.equal(RewardModel(model).score(ids, mask, with_attention=False).scores, scores)
