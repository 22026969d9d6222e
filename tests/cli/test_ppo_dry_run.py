"""`abcrl ppo --dry-run`: the configuration, and what the run would take."""

from pathlib import Path

import pytest

from abcrl.config import PpoConfig, load_config, to_yaml
from tests.given_prompts import QUESTION, write_pairs


def test_the_memory_of_the_run_is_told_below_its_configuration(abcrl, tiny_runs, tmp_path):
    config = tiny_runs.ppo(tmp_path / "run")
    Path("c.yaml").write_text(to_yaml(config))
    answer = abcrl("ppo", "--config", "c.yaml", "--dry-run")
    assert (answer.code, answer.errors) == (0, "")
    told = [line for line in answer.output.splitlines() if line.startswith("# ")]
    assert told[0].startswith("# memory, float32 on ")
    assert told[-1].startswith("# fits up to: batch_size ")
    assert all(len(line) <= 80 for line in told)
    assert not (tmp_path / "run").exists()
    Path("saved.yaml").write_text(answer.output)
    assert load_config(PpoConfig, file=Path("saved.yaml")) == config


@pytest.mark.slow
def test_whole_prompts_are_planned_for_as_long_as_they_may_be(abcrl, tiny_runs, tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl")
    changes = {"data__limit": None, "data__source": str(source), "data__template": QUESTION}
    peaks = []
    for longest in (10, 60):
        config = tiny_runs.ppo(tmp_path / "run", prompt__max_tokens=longest, **changes)
        Path("c.yaml").write_text(to_yaml(config))
        answer = abcrl("ppo", "--config", "c.yaml", "--dry-run")
        assert (answer.code, answer.errors) == (0, "")
        [peak] = (line for line in answer.output.splitlines() if line.startswith("# peak"))
        peaks.append(peak)
    assert peaks[0] != peaks[1]


def test_a_model_that_is_not_there_ends_nothing(abcrl):
    answer = abcrl(
        "ppo", "--policy", "./absent", "--reward-model", "./absent", "--output", "x", "--dry-run"
    )
    assert (answer.code, answer.errors) == (0, "")
    assert "# memory: cannot be told: policy: must be a model folder" in answer.output
