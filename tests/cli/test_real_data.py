"""The whole pipeline on data and models of the user's, by configuration alone."""

import csv
import json
from pathlib import Path

import pytest

from abcrl.data.toy import generate_reviews
from abcrl.models import train_tokenizer
from abcrl.storage import read_rows, read_status

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

FEW = """\
output: runs/few
seeds: [0, 1]
grid: {jobs: 1}
arms:
  - {name: abc, reward: {mode: abc}}
  - {name: abc-d, reward: {mode: abc-d}}
  - {name: rlhf, reward: {mode: rlhf}}
sft:
  model:
    base: tiny
    architecture: llama
    context_length: 64
    n_layer: 3
    n_head: 4
    options: {num_key_value_heads: 2}
  training: {max_steps: 3, batch_size: 8, max_length: 40}
train_rm:
  training: {max_steps: 3, batch_size: 8, max_length: 40}
  credit_texts: 8
ppo:
  steps: 2
  prompt: {min_characters: 20}
  ppo: {batch_size: 4, mini_batch_size: 2}
  evaluation: {interval: 1, prompts: 8, samples: 1}
  score: {center_samples: 8}
"""


def require_whole_pipeline(vocabulary: int) -> None:
    """Checks what the comparison left behind."""
    folder = Path("runs/few")
    config = json.loads((folder / "sft/final/config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "llama"
    assert (config["num_hidden_layers"], config["num_attention_heads"]) == (3, 4)
    assert config["num_key_value_heads"] == 2
    assert config["vocab_size"] == vocabulary
    [last] = [row for row in read_rows(folder / "reward-model", "metrics") if row["step"] == 3]
    assert 0 < last["eval/naive_bayes_accuracy"] <= 1
    for arm in ("abc", "abc-d", "rlhf"):
        for seed in (0, 1):
            cell = folder / "cells" / arm / f"seed-{seed}"
            assert read_status(cell) == "finished"
            assert [row["step"] for row in read_rows(cell, "metrics")] == [0, 1, 2]
    assert (folder / "learning-curves.png").stat().st_size > 0


@pytest.mark.skipif(not SHARED.exists(), reason="wants the shared data beside the project")
@pytest.mark.slow
def test_a_llama_with_the_gpt2_vocabulary_on_sentence_polarity(abcrl):
    Path("few.yaml").write_text(FEW, encoding="utf-8")
    answer = abcrl(
        *["compare", "--config", "few.yaml", "--dataset", SHARED / "rt_polarity.jsonl.gz"],
        *["--set", f"sft.model.tokenizer={SHARED / 'gpt2_tokenizer'}"],
    )
    assert answer.code == 0, answer.errors
    require_whole_pipeline(vocabulary=50_258)  # GPT-2's, and a pad token


def test_a_csv_file_with_columns_labels_and_a_tokenizer_of_ones_own(abcrl):
    reviews = generate_reviews(600, seed=3)
    with Path("reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "sentiment"])
        for number, review in enumerate(reviews):
            writer.writerow([number, f"{review.text}\n", ["bad", "good"][review.label]])
    tokenizer = train_tokenizer((review.text for review in reviews), 400)
    tokenizer.save_pretrained("tokenizer")
    Path("few.yaml").write_text(FEW, encoding="utf-8")
    command = [
        *["compare", "--config", "few.yaml", "--dataset", "reviews.csv"],
        *["--text-column", "review", "--label-column", "sentiment"],
        *["--set", "train_rm.data.labels=[bad, good]", "--set", "sft.model.tokenizer=tokenizer"],
    ]
    answer = abcrl(*command)
    assert answer.code == 0, answer.errors
    require_whole_pipeline(vocabulary=400)

    # What is finished needs its data no more; but nothing on other data may stand beside it.
    text = Path("reviews.csv").read_text(encoding="utf-8")
    Path("reviews.csv").unlink()
    assert abcrl(*command).code == 0
    Path("reviews.csv").write_text(f"{text}600,One more.,good\n", encoding="utf-8")
    answer = abcrl(*command, "--seeds", "0-2")
    assert answer.code == 2
    assert "data.source: must hold the texts that " in answer.line
