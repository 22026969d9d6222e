"""PPO with a reward model that reads other tokens than the policy writes, start to end."""

from pathlib import Path

import pytest
import torch

from abcrl.config import InputError
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from tests.conftest import TinyRuns


@pytest.fixture(scope="module")
def foreign_reward_model(tiny_runs: TinyRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a smaller vocabulary than the policy's."""
    root = tmp_path_factory.mktemp("foreign")
    run_sft(tiny_runs.sft(root / "sft", model__vocab_size=330), SilentReporter())
    policy = str(root / "sft" / "final")
    run_train_rm(tiny_runs.train_rm(root / "rm", model=policy), SilentReporter())
    return root / "rm" / "final"


@pytest.mark.parametrize("mode", ["abc", "rlhf", "abc-d", "random", "swapped"])
def test_scores_and_credit_come_back_to_the_policys_tokens(
    tmp_path: Path, tiny_runs: TinyRuns, foreign_reward_model: Path, mode
):
    config = tiny_runs.ppo(tmp_path / "run", mode, reward_model=str(foreign_reward_model))
    result = run_ppo(config, SilentReporter())
    metrics = read_rows(tmp_path / "run", "metrics")
    samples = read_rows(tmp_path / "run", "samples")

    assert (result.final / "model.safetensors").exists()
    assert len(metrics) == 4
    reads_attention = mode in ("abc", "random")
    for row in metrics[1:]:
        assert ("credit/dropped_share" in row) == reads_attention
        assert 0 < row.get("credit/dropped_share", 0.5) < 1
        assert row["credit/fallback_rate"] == 0
    for sample in samples:
        assert len(sample["credit"]) == len(sample["response_ids"])
        assert sum(sample["credit"]) == pytest.approx(1, abs=1e-6)
        returned = sample["score"] - sample["score_offset"]
        assert sum(sample["token_scores"]) == pytest.approx(returned, abs=1e-5)


def test_the_same_run_gives_the_same_bytes(
    tmp_path: Path, tiny_runs: TinyRuns, foreign_reward_model: Path
):
    for name in ("one", "two"):
        config = tiny_runs.ppo(tmp_path / name, "abc", reward_model=str(foreign_reward_model))
        torch.manual_seed(len(name))
        run_ppo(config, SilentReporter())
    for file in ("metrics.jsonl", "samples.jsonl", "final/model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_template_changes_what_is_scored(tmp_path: Path, tiny_runs: TinyRuns):
    first = {}
    for name, template in (("plain", None), ("dressed", "Review: {prompt}{response} (end)")):
        config = tiny_runs.ppo(tmp_path / name, "abc", score__template=template)
        run_ppo(config, SilentReporter())
        first[name] = read_rows(tmp_path / name, "samples")[0]
    assert first["plain"]["response_ids"] == first["dressed"]["response_ids"]
    assert first["plain"]["score"] != first["dressed"]["score"]
    assert sum(first["dressed"]["credit"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reward__mode": "red"}, "reward.mode"),
        ({"score__template": "chat"}, "score.template"),
        ({"reward__layer": 7}, "reward.layer"),
        ({"reward__heads": [99]}, "reward.heads"),
        ({"score__positive_label": "marvellous"}, "score.positive_label"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_runs: TinyRuns, foreign_reward_model: Path, changes, field
):
    changes = {"reward_model": str(foreign_reward_model), **changes}
    config = tiny_runs.ppo(tmp_path / "run", "abc", **changes)
    with pytest.raises(InputError, match=field) as refused:
        run_ppo(config, SilentReporter())
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()
