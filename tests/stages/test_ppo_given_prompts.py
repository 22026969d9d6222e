"""PPO on data that give their prompts, start to end: whole prompts in, none on both sides."""

import pytest
import torch

from abcrl.data import load_prompts
from abcrl.models import encode_plain, load_reward_model
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows
from tests.given_prompts import (
    QUESTION,
    QUESTIONS,
    Models,
    write_answers,
    write_conversations,
    write_pairs,
)
from tests.stages.comparisons import Listening, samples_of
from tests.stages.resuming import assert_same_end, go_on
from tests.stages.stopped_runs import Stopping


def test_a_prompt_is_answered_whole_and_none_is_on_both_sides(on_prompts, models, tmp_path):
    file = write_pairs(tmp_path / "pairs.jsonl")
    config = on_prompts(file)
    corpus = load_prompts(config.data)
    heldout = {example.prompt.text for example in corpus.validation if example.prompt}
    training = {example.prompt.text for example in corpus.train if example.prompt}
    assert heldout | training == set(QUESTIONS)
    assert not heldout & training
    samples = samples_of(config)
    for row in samples:
        assert row["prompt"] in heldout
        assert row["prompt_ids"] == encode_plain(models.tokenizer, row["prompt"])
    first = [row["prompt"] for row in samples if row["step"] == 0]
    assert len(set(first)) == len(first)
    metrics = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in metrics] == [0, 1, 2, 3]


def test_prompts_that_are_too_long_are_left_out_and_told(on_prompts, models: Models, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl")
    lengths = sorted(len(encode_plain(models.tokenizer, each)) for each in QUESTIONS)
    longest = lengths[len(lengths) // 2]
    reporter = Listening()
    run_ppo(on_prompts(source, prompt__max_tokens=longest, steps=1), reporter)
    too_long = sum(length > longest for length in lengths)
    assert any(f"{too_long} prompts left out" in line for line in reporter.messages)
    for row in read_rows(tmp_path / "run", "samples"):
        assert len(row["prompt_ids"]) <= longest
        assert row["prompt"] in QUESTIONS


def test_red_gives_each_token_what_it_adds_to_the_score_of_the_whole_prompt(
    on_prompts, models: Models, tmp_path
):
    source = write_answers(tmp_path / "rows.jsonl")
    config = on_prompts(source, reward__mode="red", data__template=QUESTION, steps=1)
    model, _ = load_reward_model(str(models.reward_model), "reward_model")
    for row in samples_of(config):
        assert sum(row["token_scores"]) == pytest.approx(
            row["score"] - row["score_offset"], abs=1e-4
        )
        ids = torch.tensor([[*row["prompt_ids"], *row["response_ids"]]])
        whole = torch.ones_like(ids).bool()
        prefixes = model.score(ids, whole, with_attention=False, with_prefixes=True).prefix_scores
        assert prefixes is not None
        steps = prefixes[0, len(row["prompt_ids"]) - 1 :].diff()
        share = steps[1] - steps[0]  # two tokens apart: what all tokens share cancels out
        beta = 0.8
        found = row["token_scores"][1] - row["token_scores"][0]
        assert found == pytest.approx(beta * float(share), abs=1e-3)


@pytest.mark.parametrize("changes", [{}, {"networks__lora__rank": 2}, {"reward__mode": "swapped"}])
def test_a_stopped_run_goes_on_to_the_same_bytes(on_prompts, tmp_path, changes):
    source = write_conversations(tmp_path / "rows.jsonl")
    settings = {
        "data__template": "chat",
        "prompt__max_tokens": 120,
        "checkpoint__interval": 2,
        **changes,
    }
    run_ppo(on_prompts(source, "whole", **settings), Listening())
    stopped = on_prompts(source, "stopped", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_ppo(stopped, Stopping(2))
    assert go_on(stopped) == ["resumed from step 2"]
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


def test_arms_are_given_the_same_prompts_and_the_same_first_responses(on_prompts, tmp_path):
    source = write_pairs(tmp_path / "rows.jsonl")
    arms = [
        samples_of(on_prompts(source, name, reward__mode=name, data__template=QUESTION))
        for name in ("abc", "rlhf", "abc-d")
    ]
    for arm in arms[1:]:
        for ours, theirs in zip(arms[0], arm, strict=True):
            assert ours["prompt_ids"] == theirs["prompt_ids"]
            if ours["step"] == 0:
                assert ours["response_ids"] == theirs["response_ids"]


def test_what_is_held_out_may_be_a_file_of_its_own(on_prompts, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl", QUESTIONS[:18])
    heldout = write_answers(tmp_path / "heldout.jsonl", QUESTIONS[15:])
    config = on_prompts(source, data__validation=str(heldout), evaluation__samples=8, steps=1)
    reporter = Listening()
    run_ppo(config, reporter)
    assert any("3 rows left out: held out by data.validation" in one for one in reporter.messages)
    shown = {row["prompt"] for row in read_rows(tmp_path / "run", "samples")}
    assert shown <= set(QUESTIONS[15:])
