"""Models that this project did not make: no pad token, padded vocabularies, other architectures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from abcrl.models import CaptureError, embedding_rows, load_reward_model
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from tests.models.reward.value_heads import save_model, weights_of


def foreign_policy(tiny_runs, folder: Path, *, rows: int | None = None) -> Path:
    """Returns the tiny policy as it would come from elsewhere: without a pad token of its own."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_runs.policy)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_runs.policy)
    if rows is not None:
        model.resize_token_embeddings(rows)
    model.config.pad_token_id = None
    model.generation_config.pad_token_id = None
    tokenizer.pad_token = tokenizer.eos_token
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("rows", [None, 448], ids=["as many rows as tokens", "padded vocabulary"])
def test_a_policy_without_a_pad_token_goes_through_the_whole_pipeline(tiny_runs, tmp_path, rows):
    policy = foreign_policy(tiny_runs, tmp_path / "policy", rows=rows)
    config = tiny_runs.train_rm(tmp_path / "rm", model=str(policy), training__max_steps=2)
    result = run_train_rm(config, SilentReporter())

    reward_model, tokenizer = load_reward_model(str(result.final), "reward_model")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    # What the policy can write, the reward model can read; rows are added, never taken away.
    assert embedding_rows(reward_model.model) >= (rows or 400)

    ppo = tiny_runs.ppo(
        tmp_path / "ppo", policy=str(policy), reward_model=str(result.final), steps=1
    )
    run_ppo(ppo, SilentReporter())


@pytest.mark.parametrize("mode", ["abc", "red"])
def test_a_reward_model_with_a_value_head_is_read(tiny_runs, tmp_path, mode):
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_runs.policy)
    generator = torch.Generator().manual_seed(3)
    head = {"v_head.weight": torch.randn(1, model.config.hidden_size, generator=generator)}
    folder = save_model(
        tmp_path / "rm",
        model,
        AutoTokenizer.from_pretrained(tiny_runs.policy),
        weights_of(model) | head,
    )
    run_ppo(tiny_runs.ppo(tmp_path / "ppo", mode, reward_model=folder, steps=1), SilentReporter())
    samples = (tmp_path / "ppo" / "samples.jsonl").read_text().splitlines()
    scores = {json.loads(line)["score"] for line in samples}
    assert len(scores) > 1


def test_ids_that_the_reward_model_cannot_read_end_no_run(tiny_runs, tmp_path):
    # Ids from 400 on are rows of the policy's embeddings that stand for no token.
    policy = foreign_policy(tiny_runs, tmp_path / "policy", rows=448)
    run_ppo(tiny_runs.ppo(tmp_path / "ppo", policy=str(policy)), SilentReporter())
    samples = read_rows(tmp_path / "ppo", "samples")
    assert max(max(row["response_ids"]) for row in samples) >= 400


def test_attention_that_cannot_be_captured_is_refused_before_anything_is_written(
    make_tiny_runs, tmp_path
):
    runs = make_tiny_runs("openai-gpt")  # its reward model is trained all the same
    with pytest.raises(CaptureError, match=r"received model type 'openai-gpt'"):
        run_ppo(runs.ppo(tmp_path / "abc", "abc"), SilentReporter())
    assert not (tmp_path / "abc").exists()

    run_ppo(runs.ppo(tmp_path / "uniform", "uniform", steps=1), SilentReporter())
