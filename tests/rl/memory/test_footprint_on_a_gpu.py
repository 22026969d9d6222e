"""What a step is said to take of a GPU, against its own peak. Skipped where there is none."""

from typing import Any

import pytest
import torch

from tests.rl.memory.measured_memory import estimate_phases, measure_phases, run_with, save_models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 32_000,
}
LENGTHS = {"response__cap_low": 100, "response__cap_high": 100, "response__min_new_tokens": 100}
CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16": {"networks__precision": "bf16"},
    "micro-batches": {"ppo__micro_batch_size": 4},
    "separate value model": {"networks__value_model": "separate"},
    "lora": {"networks__lora": {}, "networks__gradient_checkpointing": True},
    "abc-d": {"reward__mode": "abc-d"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_every_phase_takes_what_is_counted(tmp_path, tiny_tokenizer, architecture, case):
    shape = SHAPE if architecture == "llama" else {**SHAPE, "n_inner": 1536}
    models = save_models(tmp_path, tiny_tokenizer, architecture, **shape)
    config = run_with(models, **LENGTHS, **CASES[case], run__device="cuda")
    device = torch.device("cuda")
    measured = measure_phases(config, device, tmp_path)
    for name, estimate in estimate_phases(config, device).items():
        assert estimate == pytest.approx(measured[name], rel=0.2), name
