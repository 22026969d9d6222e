"""Runs with a control of abc: what is frozen before the first step is kept with the run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from tests.conftest import TinyRuns


def test_the_frozen_credit_is_stored_with_the_run(tmp_path: Path, tiny_runs: TinyRuns):
    for mode, seed in (("swapped", 0), ("position", 1), ("abc", 0)):
        config = tiny_runs.ppo(tmp_path / mode, mode, run__seed=seed)
        run_ppo(config, SilentReporter())
    swapped, position = (
        load_file(tmp_path / mode / "reference-credit.safetensors")
        for mode in ("swapped", "position")
    )
    assert swapped["weights"].shape[0] == config.reward.reference_responses
    assert position["profile"].sum() == pytest.approx(1, abs=1e-6)
    for name, tensor in swapped.items():
        assert torch.equal(position[name], tensor)  # of the data, whatever mode and seed
    assert not (tmp_path / "abc" / "reference-credit.safetensors").exists()
