"""The experiment that every newcomer runs: `abcrl compare` as it comes, with fewer seeds."""

from importlib.resources import as_file, files
from pathlib import Path

import pytest

from abcrl.config import CompareConfig, load_config
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare


@pytest.mark.slow
def test_the_built_in_experiment_trains_every_arm_well_above_the_sft_model(tmp_path: Path):
    with as_file(files("abcrl.config") / "toy.yaml") as recipe:
        flags = {"seeds": [0, 1], "output": str(tmp_path / "toy")}
        config = load_config(CompareConfig, file=recipe, flags=flags)

    summary = run_compare(config, SilentReporter()).summary

    assert not summary.failed
    assert summary.baseline_score is not None
    assert summary.baseline_gold_score is not None
    for arm in summary.arms:
        # The scores of SFT responses have a standard deviation of about 1.6.
        score, gold = (arm.finals[name].mean for name in ("score", "gold_score"))
        assert score is not None
        assert gold is not None
        assert score > summary.baseline_score + 0.8, arm.arm.name
        assert gold > summary.baseline_gold_score + 0.5, arm.arm.name
