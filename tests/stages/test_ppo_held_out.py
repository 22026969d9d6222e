"""What a PPO run holds out, and what its samples say."""

import pytest

from abcrl.config import InputError
from abcrl.data import load_corpus
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows


class Listening(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text):
        self.messages.append(text)


def test_held_out_prompts_are_never_used_twice(tiny_runs, tmp_path):
    reporter = Listening()
    config = tiny_runs.ppo(tmp_path / "run", evaluation__prompts=500, steps=1)
    run_ppo(config, reporter)
    held_out = len(load_corpus(config.data).validation)
    assert reporter.messages == [
        f"evaluation: {held_out} held-out prompts instead of 500: no more held-out texts have "
        "over 0 characters (prompt.min_characters); 283 texts give training prompts"
    ]


def test_fewer_than_two_held_out_prompts_are_refused(tiny_runs, tmp_path):
    longest = max(len(e.text) for e in load_corpus(tiny_runs.ppo(tmp_path).data).validation)
    config = tiny_runs.ppo(tmp_path / "run", prompt__min_characters=longest - 1)
    with pytest.raises(InputError, match=r"^data.validation_fraction: must leave at least two"):
        run_ppo(config, SilentReporter())
    assert not (tmp_path / "run").exists()


def test_token_scores_of_samples_sum_to_the_score_less_its_offset(tiny_ppo_runs):
    for folder in tiny_ppo_runs.values():
        for sample in read_rows(folder, "samples"):
            expected = sample["score"] - sample["score_offset"]
            assert sum(sample["token_scores"]) == pytest.approx(expected, abs=1e-5)
