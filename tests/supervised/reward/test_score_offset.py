"""The zero that a reward model is given: which responses it is the mean of, where it is kept."""

import json
from typing import Any

import pytest

from abcrl.config import InputError, PpoConfig, TrainRmConfig, load_config
from abcrl.models import load_reward_model
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.supervised.reward.objectives import OBJECTIVES, Objective
from abcrl.supervised.reward.rows import score_rows
from abcrl.supervised.reward.score_offset import plan_offset

SAMPLED = {
    "head__offset": "sft",
    "head__offset_samples": 100,
    "prompt__min_characters": 0,
    "response__cap_high": 20,
}


def make_objective(config: TrainRmConfig, tokenizer: Any) -> Objective:
    kind: Any = OBJECTIVES[config.objective]
    objective: Objective = kind(config, kind.read(config, print), tokenizer, print)
    return objective


@pytest.mark.parametrize("template", [None, "Review: {response} (end)"])
def test_responses_of_the_sft_model_average_0_afterwards(tiny_runs, tmp_path, template):
    roomy = tiny_runs.sft(tmp_path / "sft", model__context_length=160, training__max_steps=1)
    config = tiny_runs.train_rm(
        tmp_path / "run",
        model=str(run_sft(roomy, SilentReporter()).final),
        template=template,
        training__max_length=160,
        **SAMPLED,
    )
    result = run_train_rm(config, SilentReporter())
    reward_model, tokenizer = load_reward_model(str(result.final), "reward_model")
    objective = make_objective(config, tokenizer)
    measure = plan_offset(config, objective, tokenizer, reward_model.model)
    assert measure is not None
    assert measure(reward_model) == pytest.approx(0, abs=1e-5)
    saved = json.loads((result.final / "config.json").read_text())["score_offset"]
    assert saved == result.quality.score_offset == reward_model.offset
    assert abs(saved) > 1e-3
    assert read_rows(tmp_path / "run", "metrics")[-1]["eval/score_offset"] == saved


def test_the_responses_belong_to_the_data_and_not_to_the_run(tiny_runs, tmp_path):
    reward_model, tokenizer = load_reward_model(str(tiny_runs.reward_model), "reward_model")
    offsets = []
    for changes in ({}, {"run__seed": 5}, {"data__seed": 5}):
        config = tiny_runs.train_rm(tmp_path / "run", **SAMPLED, **changes)
        measure = plan_offset(
            config, make_objective(config, tokenizer), tokenizer, reward_model.model
        )
        assert measure is not None
        offsets.append(measure(reward_model))
    assert offsets[0] == offsets[1] != offsets[2]


def test_positive_texts_average_0_afterwards(tiny_runs, tmp_path):
    config = tiny_runs.train_rm(tmp_path / "run", head__offset="chosen", head__offset_samples=50)
    result = run_train_rm(config, SilentReporter())
    reward_model, tokenizer = load_reward_model(str(result.final), "reward_model")
    rows = make_objective(config, tokenizer).good_rows(50)
    assert len(rows) == 50
    assert float(score_rows(reward_model, rows)[0].mean()) == pytest.approx(0, abs=1e-5)


def test_an_offset_changes_no_accuracy_and_no_probability(tiny_runs, tmp_path):
    plain = tiny_runs.train_rm(tmp_path / "plain")
    run_train_rm(plain, SilentReporter())
    run_train_rm(tiny_runs.train_rm(tmp_path / "run", head__offset="chosen"), SilentReporter())
    before, after = (read_rows(tmp_path / name, "metrics")[-1] for name in ("plain", "run"))
    offset = after["eval/score_offset"]
    assert "eval/score_offset" not in before
    for name in ("accuracy", "accuracy_truncated"):
        assert after[f"eval/{name}"] == before[f"eval/{name}"]
    for name in ("nll", "nll_truncated"):
        assert after[f"eval/{name}"] == pytest.approx(before[f"eval/{name}"], rel=1e-5)
    assert after["eval/score_mean"] == pytest.approx(before["eval/score_mean"] - offset, abs=1e-5)
    weights = [tmp_path / name / "final" / "model.safetensors" for name in ("plain", "run")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_responses_that_do_not_fit_are_refused_before_training(tiny_runs, tmp_path):
    config = tiny_runs.train_rm(tmp_path / "run", **{**SAMPLED, "response__cap_high": 200})
    with pytest.raises(InputError, match=r"^response\.cap_high: .* context of model"):
        run_train_rm(config, SilentReporter())
    assert not (tmp_path / "run").exists()


def test_texts_that_give_no_prompt_are_refused_before_training(tiny_runs, tmp_path):
    config = tiny_runs.train_rm(tmp_path / "run", **{**SAMPLED, "prompt__min_characters": 9999})
    with pytest.raises(InputError, match=r"^prompt\.min_characters: "):
        run_train_rm(config, SilentReporter())
    assert not (tmp_path / "run").exists()


def test_a_value_model_that_starts_from_it_has_its_units(tiny_runs, tmp_path):
    # The first values explain the scores as well as without an offset: both are shifted alike.
    run_train_rm(tiny_runs.train_rm(tmp_path / "plain"), SilentReporter())
    run_train_rm(tiny_runs.train_rm(tmp_path / "moved", head__offset="chosen"), SilentReporter())
    rows = {}
    for name in ("plain", "moved"):
        base = tiny_runs.ppo(tmp_path / f"ppo-{name}", steps=1)
        config = load_config(
            PpoConfig,
            flags={
                "policy": base.policy,
                "reward_model": str(tmp_path / name / "final"),
                "run.output": base.run.output,
                "networks.value_model": "separate",
                "networks.value_init": "reward_model",
                "steps": 1,
                "data.limit": 300,
                "prompt.min_characters": 0,
                "ppo.batch_size": 4,
                "ppo.mini_batch_size": 4,
                "score.center_samples": 8,
                "evaluation.prompts": 4,
            },
        )
        run_ppo(config, SilentReporter())
        rows[name] = read_rows(tmp_path / f"ppo-{name}", "metrics")[-1]
    for metric in ("value/loss", "value/explained_variance"):
        assert rows["moved"][metric] == pytest.approx(rows["plain"][metric], rel=1e-3)
    assert rows["moved"]["objective/score"] != rows["plain"]["objective/score"]
