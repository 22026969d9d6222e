"""ppo as a whole with other networks and options than the default ones."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows

# Every option that the default run leaves off, in two runs.
SEPARATE = {
    "networks__value_model": "separate",
    "networks__gradient_checkpointing": True,
    "ppo__micro_batch_size": 1,
    "ppo__max_grad_norm": 1.0,
    "kl__loss": "exact",
    "kl__target_kl": 1e-9,
    "score__scale": "running",
    "optimizer__schedule": "cosine",
    "optimizer__warmup_steps": 1,
}
LORA = {
    "networks__lora": {"rank": 4, "target_modules": ["c_attn", "c_fc"]},
    "kl__loss": "k2",
    "score__scale": "sft",
    "score__clip": 1.5,
    "reward__missing_eos_penalty": 0.5,
}


@pytest.mark.parametrize(
    ("mode", "options", "metrics"),
    [
        ("abc", SEPARATE, {"score/scale", "policy/kl_loss", "policy/grad_norm", "update/epochs"}),
        ("abc-d", LORA, {"score/scale", "policy/kl_loss"}),
    ],
)
def test_options_train_and_leave_a_model_that_loads(tiny_runs, tmp_path, mode, options, metrics):
    folder = tmp_path / "run"
    run_ppo(tiny_runs.ppo(folder, mode, **options), SilentReporter())

    rows = read_rows(folder, "metrics")
    assert all(metrics <= row.keys() for row in rows[1:])
    assert rows[0]["eval/kl_exact"] == pytest.approx(0, abs=1e-5)
    assert rows[1]["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert rows[-1]["eval/kl_exact"] > 1e-4
    if "update/epochs" in metrics:
        assert [row["update/epochs"] for row in rows[1:]] == [1.0] * 3
    before = load_file(tiny_runs.policy / "model.safetensors")
    after = load_file(folder / "final" / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    AutoModelForCausalLM.from_pretrained(folder / "final")
    for line in (folder / "samples.jsonl").read_text().splitlines():
        sample = json.loads(line)
        assert sum(sample["token_scores"]) == pytest.approx(sample["shaped_score"], abs=1e-5)


def test_with_adapters_only_their_layers_move(tiny_runs, tmp_path):
    run_ppo(tiny_runs.ppo(tmp_path / "run", "abc", **LORA), SilentReporter())
    before = load_file(tiny_runs.policy / "model.safetensors")
    after = load_file(tmp_path / "run" / "final" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith(("c_attn.weight", "c_fc.weight"))}
