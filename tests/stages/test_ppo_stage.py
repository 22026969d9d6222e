"""ppo as a whole: every mode on one tiny pipeline."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from abcrl.config import PpoConfig, RewardMode, load_config
from abcrl.densification import needs
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows, read_status

MODES = [mode.value for mode in RewardMode]
EVALUATION = {
    "eval/score",
    "eval/score_se",
    "eval/kl_exact",
    "eval/length",
    "eval/eos_rate",
    "eval/distinct_2",
    "eval/repetition",
    "eval/gold_score",
    "eval/gold_score_se",
}
TRAINING = {
    "objective/score",
    "objective/score_std",
    "objective/return",
    "objective/kl",
    "objective/kl_exact",
    "objective/kl_k3",
    "objective/kl_coef",
    "policy/entropy",
    "policy/loss",
    "policy/clip_fraction",
    "policy/approx_kl",
    "policy/ratio",
    "value/loss",
    "value/clip_fraction",
    "value/explained_variance",
    "credit/effective_tokens",
    "credit/entropy",
    "credit/first_token_share",
    "credit/punctuation_share",
    "credit/last_token_share",
    "credit/fallback_rate",
    "response/length",
    "response/eos_rate",
    "update/skipped",
}


def same(first: Path, second: Path, *names: str) -> None:
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def merged_rows(folder: Path) -> dict[int, dict[str, float]]:
    """What is known of each step."""
    steps: dict[int, dict[str, float]] = {}
    for row in read_rows(folder, "metrics"):
        steps.setdefault(row["step"], {}).update(row)
    return steps


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_and_leaves_a_model_that_loads(tiny_runs, tiny_ppo_runs, mode):
    folder = tiny_ppo_runs[mode]
    assert read_status(folder) == "finished"
    final = folder / "final"
    AutoModelForCausalLM.from_pretrained(final)
    assert len(AutoTokenizer.from_pretrained(final)) == 400
    before = load_file(tiny_runs.policy / "model.safetensors")
    after = load_file(final / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    value_head = load_file(final / "value_head.safetensors")
    assert {name: tuple(value.shape) for name, value in value_head.items()} == {
        "weight": (1, 64),
        "bias": (1,),
    }


def test_different_modes_train_different_models(tiny_ppo_runs):
    weights = {
        (folder / "final" / "model.safetensors").read_bytes() for folder in tiny_ppo_runs.values()
    }
    assert len(weights) == len(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_metrics_have_their_names_and_every_step_once(tiny_ppo_runs, mode):
    rows = read_rows(tiny_ppo_runs[mode], "metrics")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0].keys() == {"step", "score/offset", *EVALUATION}
    attended = {"credit/dropped_share"} if "reward_attention" in needs(mode) else set()
    assert rows[1].keys() == {"step", *TRAINING, *attended}
    assert rows[2].keys() == rows[3].keys() == {"step", *TRAINING, *EVALUATION, *attended}
    timings = read_rows(tiny_ppo_runs[mode], "timings")
    assert [row["step"] for row in timings if "update_seconds" in row] == [1, 2, 3]
    assert [row["step"] for row in timings if "evaluation_seconds" in row] == [0, 2, 3]
    for row in rows:
        assert all(math.isfinite(value) for value in row.values())


@pytest.mark.parametrize("mode", MODES)
def test_the_first_step_starts_at_the_reference(tiny_ppo_runs, mode):
    rows = merged_rows(tiny_ppo_runs[mode])
    assert rows[0]["eval/kl_exact"] == pytest.approx(0, abs=1e-5)
    assert rows[1]["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert rows[1]["objective/kl_coef"] == 0.2
    assert rows[3]["eval/kl_exact"] > 0.01
    # With no KL to pay, the return is the score: no mode may change it.
    offset = rows[0]["score/offset"]
    assert rows[1]["objective/return"] == pytest.approx(
        rows[1]["objective/score"] - offset, abs=1e-5
    )


@pytest.mark.parametrize("mode", MODES)
def test_samples_carry_credit_that_sums_to_one(tiny_ppo_runs, mode):
    folder = tiny_ppo_runs[mode]
    offset = merged_rows(folder)[0]["score/offset"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "final")
    samples = read_rows(folder, "samples")
    assert [sample["step"] for sample in samples] == [0, 0, 2, 2, 3, 3]
    for sample in samples:
        length = len(sample["response_ids"])
        assert 1 <= length <= 15
        assert len(sample["credit"]) == len(sample["token_scores"]) == length
        assert sum(sample["credit"]) == pytest.approx(1, abs=1e-5)
        assert min(sample["credit"]) >= 0
        assert sum(sample["token_scores"]) == pytest.approx(sample["score"] - offset, abs=1e-5)
        assert sample["prompt"] == tokenizer.decode(sample["prompt_ids"])
        assert {"prompt_index", "response", "gold_score"} <= sample.keys()


def test_the_modes_spread_as_they_say(tiny_ppo_runs):
    def credit(mode: str) -> list[float]:
        values: list[float] = read_rows(tiny_ppo_runs[mode], "samples")[0]["credit"]
        return values

    length = len(credit("rlhf"))
    assert credit("rlhf") == [0.0] * (length - 1) + [1.0]
    assert credit("uniform") == pytest.approx([1 / length] * length)
    assert credit("abc-d")[-1] == credit("abc-d2")[-1] == 0
    assert len({tuple(credit(mode)) for mode in MODES}) == len(MODES)
    rows = {mode: merged_rows(tiny_ppo_runs[mode])[1] for mode in MODES}
    assert rows["rlhf"]["credit/last_token_share"] == 1
    assert rows["rlhf"]["credit/effective_tokens"] == pytest.approx(1)
    uniform = rows["uniform"]
    assert uniform["credit/effective_tokens"] == pytest.approx(uniform["response/length"])


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "rlhf"])
def test_arms_with_one_seed_share_prompts_and_random_numbers(tiny_ppo_runs, mode):
    sparse, dense = tiny_ppo_runs["rlhf"], tiny_ppo_runs[mode]
    shared = ("prompt_index", "prompt_ids", "response_ids", "score", "gold_score")
    for one, other in zip(
        read_rows(sparse, "samples")[:2], read_rows(dense, "samples")[:2], strict=True
    ):
        assert {name: one[name] for name in shared} == {name: other[name] for name in shared}
    rows, others = merged_rows(sparse), merged_rows(dense)
    assert rows[0] == others[0]
    for name in TRAINING:
        if name.startswith(("objective/score", "objective/kl", "response/", "policy/entropy")):
            assert rows[1][name] == others[1][name], name
    assert rows[1]["policy/loss"] != others[1]["policy/loss"]


def test_held_out_prompts_stay_the_same_while_the_policy_changes(tiny_ppo_runs):
    samples = read_rows(tiny_ppo_runs["abc"], "samples")
    prompts = [
        [sample["prompt_ids"] for sample in samples if sample["step"] == step] for step in (0, 2, 3)
    ]
    assert prompts[0] == prompts[1] == prompts[2]
    assert samples[0]["response_ids"] != samples[4]["response_ids"]


def test_the_saved_configuration_repeats_the_run_to_the_byte(tiny_ppo_runs, tmp_path):
    first, second = tiny_ppo_runs["abc-d"], tmp_path / "other"
    config = load_config(PpoConfig, file=first / "config.yaml", flags={"run.output": str(second)})
    run_ppo(config, SilentReporter())
    same(first, second, "metrics.jsonl", "samples.jsonl")
    same(first, second, "final/model.safetensors", "final/value_head.safetensors")


def test_another_seed_draws_other_prompts_and_responses(tiny_runs, tiny_ppo_runs, tmp_path):
    folder = tmp_path / "run"
    run_ppo(tiny_runs.ppo(folder, steps=1, run__seed=1), SilentReporter())
    first, second = merged_rows(tiny_ppo_runs["abc"]), merged_rows(folder)
    assert first[1]["objective/score"] != second[1]["objective/score"]
    # The offset belongs to data and models, and so do the held-out prompts.
    assert first[0]["score/offset"] == second[0]["score/offset"]
    one, other = (
        [sample["prompt_ids"] for sample in read_rows(run, "samples")[:2]]
        for run in (tiny_ppo_runs["abc"], folder)
    )
    assert one == other


def test_fewer_steps_are_the_beginning_of_more(tiny_runs, tiny_ppo_runs, tmp_path):
    run_ppo(tiny_runs.ppo(tmp_path / "run", steps=2), SilentReporter())
    long = (tiny_ppo_runs["abc"] / "metrics.jsonl").read_text().splitlines()
    short = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert short == long[:3]


def test_without_centering_the_offset_is_zero(tiny_runs, tmp_path):
    config = tiny_runs.ppo(tmp_path / "run", steps=1, score__center="none", evaluation__samples=0)
    run_ppo(config, SilentReporter())
    rows = merged_rows(tmp_path / "run")
    assert rows[0]["score/offset"] == 0
    assert rows[1]["objective/return"] == pytest.approx(rows[1]["objective/score"], abs=1e-5)
    assert read_rows(tmp_path / "run", "samples") == []


def test_the_longest_response_that_fits_the_context_runs(tiny_runs, tmp_path):
    config = tiny_runs.ppo(
        tmp_path / "run",
        "abc-d",
        steps=1,
        response__cap_low=89,
        response__cap_high=89,
        ppo__batch_size=2,
        score__center_samples=2,
        evaluation__prompts=2,
    )
    run_ppo(config, SilentReporter())
    assert merged_rows(tmp_path / "run")[1]["response/length"] <= 89


def test_the_same_pipeline_runs_in_another_architecture(make_tiny_runs, tmp_path):
    runs = make_tiny_runs("llama")
    config = json.loads((runs.policy / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 64)
    assert config["num_key_value_heads"] == 2
    for mode in ("abc", "abc-d"):
        result = run_ppo(runs.ppo(tmp_path / mode, mode, steps=2), SilentReporter())
        assert result.before["eval/kl_exact"] == pytest.approx(0, abs=1e-5)
        AutoModelForCausalLM.from_pretrained(result.final)
        for sample in read_rows(tmp_path / mode, "samples"):
            assert sum(sample["credit"]) == pytest.approx(1, abs=1e-5)
