"""The pipeline on a GPU: nothing is left on the CPU. Skipped where there is none."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from abcrl.config import CreditConfig, RewardMode, load_config
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.tools.credit import run_credit
from tests.conftest import TinyRuns

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


TEMPLATE = "Review: {prompt}{response}"
# red reads the policy's own ids, and is refused with a template.
CASES: list[tuple[RewardMode, str | None]] = [(mode, None) for mode in RewardMode]
CASES += [(mode, TEMPLATE) for mode in RewardMode if mode is not RewardMode.RED]


@pytest.mark.parametrize(("mode", "template"), CASES)
def test_every_mode_trains(tmp_path: Path, tiny_runs: TinyRuns, mode, template):
    changes = {"run__device": "cuda", "steps": 2, "score__template": template}
    run_ppo(tiny_runs.ppo(tmp_path / "run", mode, **changes), SilentReporter())
    assert len(read_rows(tmp_path / "run", "metrics")) == 3


def test_credit_is_measured(tiny_runs: TinyRuns):
    flags = {
        "reward_model": str(tiny_runs.reward_model),
        "policy": str(tiny_runs.policy),
        "data.limit": 300,
        "texts": 4,
        "reward.reference_responses": 20,
        "machine.device": "cuda",
    }
    report = run_credit(load_config(CreditConfig, flags=flags), SilentReporter())
    assert len(report.modes) == len(RewardMode)


def test_supervised_training_computes_in_bf16(tmp_path: Path, tiny_runs: TinyRuns):
    changes = {"run__device": "cuda", "networks__precision": "bf16", "evaluation__interval": 5}
    run_sft(tiny_runs.sft(tmp_path / "sft", **changes), SilentReporter())
    run_train_rm(tiny_runs.train_rm(tmp_path / "rm", **changes), SilentReporter())
    for name in ("sft", "rm"):
        weights = load_file(tmp_path / name / "final" / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_adapters_on_4_bits_are_merged_into_the_whole_weights(tmp_path: Path, tiny_runs: TinyRuns):
    pytest.importorskip("bitsandbytes")
    changes = {
        "run__device": "cuda",
        "networks__lora": {"rank": 2},
        "networks__quantization": "nf4",
    }
    base = {"model": {"base": str(tiny_runs.policy)}}
    run_sft(tiny_runs.sft(tmp_path / "sft", **base, **changes), SilentReporter())
    run_train_rm(tiny_runs.train_rm(tmp_path / "rm", **changes), SilentReporter())
    before = load_file(tiny_runs.policy / "model.safetensors")
    after = load_file(tmp_path / "sft" / "final" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    layers = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    assert moved == {name for name in before if name.endswith(layers)}
    assert {weight.dtype for weight in after.values()} == {torch.float32}
