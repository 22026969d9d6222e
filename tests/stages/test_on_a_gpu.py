"""The pipeline on a GPU: nothing is left on the CPU. Skipped where there is none."""

from pathlib import Path

import pytest
import torch

from abcrl.config import CreditConfig, RewardMode, load_config
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
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
