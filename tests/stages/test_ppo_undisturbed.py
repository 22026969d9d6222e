"""What surrounds the steps of a run leaves them as they are; what goes wrong in them is said."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.data import load_corpus
from abcrl.reporter import SilentReporter
from abcrl.rl.rollout import collect_rollout
from abcrl.rl.sampling.sampler import sample_responses
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows
from tests.stages.comparisons import Listening
from tests.stages.test_ppo_stage import TRAINING


def training_rows(folder: Path) -> list[dict[str, float]]:
    rows = read_rows(folder, "metrics")[1:]
    return [{name: row[name] for name in TRAINING} for row in rows]


def test_evaluations_and_checkpoints_change_no_step(tiny_runs, tiny_ppo_runs, tmp_path):
    often = {
        "evaluation__interval": 1,
        "evaluation__prompts": 7,
        "evaluation__samples": 0,
        "checkpoint__interval": 1,
    }
    run_ppo(tiny_runs.ppo(tmp_path / "run", **often), SilentReporter())
    seldom = tiny_ppo_runs["abc"]
    assert len(training_rows(seldom)) == 3
    assert training_rows(tmp_path / "run") == training_rows(seldom)
    for name in ("model.safetensors", "value_head.safetensors"):
        assert (tmp_path / "run" / "final" / name).read_bytes() == (
            seldom / "final" / name
        ).read_bytes()


def test_few_texts_are_taken_again_in_another_order(tiny_runs, tmp_path, monkeypatch):
    indices: list[int] = []
    seen: list[tuple[int, ...]] = []

    def collecting(actors: Any, prompts: Any, *rest: Any, **options: Any) -> Any:
        indices.extend(prompt.index for prompt in prompts)
        seen.extend(prompt.ids for prompt in prompts)
        return collect_rollout(actors, prompts, *rest, **options)

    monkeypatch.setattr("abcrl.stages.ppo_training.collect_rollout", collecting)
    # Of one length, so that a text gives the same prompt each time.
    texts = {"data__limit": 60, "prompt__min_tokens": 12, "prompt__max_tokens": 12}
    config = tiny_runs.ppo(tmp_path / "run", steps=8, ppo__batch_size=16, **texts)
    run_ppo(config, SilentReporter())
    assert [row["step"] for row in read_rows(tmp_path / "run", "metrics")] == [*range(9)]
    assert indices == list(range(128))
    epoch = len(load_corpus(config.data).train)
    assert 2 * epoch <= len(seen)
    first, second = seen[:epoch], seen[epoch : 2 * epoch]
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize("threads", [None, 2])
def test_threads_are_those_of_the_configuration(tiny_runs, tmp_path, threads):
    config = tiny_runs.ppo(tmp_path / "run", steps=1)
    if threads is not None:
        config = config.replace(run=config.run.replace(threads=threads))
    found: list[int] = []

    class Asking(SilentReporter):
        def advance(self, done: int, numbers: object) -> None:  # noqa: ARG002
            found.append(torch.get_num_threads())

    torch.set_num_threads(3)
    try:
        run_ppo(config, Asking())
    finally:
        torch.set_num_threads(1)
    assert found == [threads or 1]
    assert f"threads: {threads or 1}\n" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_kl_that_cannot_be_one_is_said_and_marked(tiny_runs, tmp_path, monkeypatch):
    # The mistake that the alarm is for: responses come from another distribution than the one
    # that is scored, here from the reference. Then less KL is paid, the further the policy goes.
    reference: list[Any] = []

    def sampling(model: Any, *rest: Any, **options: Any) -> Any:
        if not reference:
            reference.append(copy.deepcopy(model))
        return sample_responses(reference[0], *rest, **options)

    monkeypatch.setattr("abcrl.rl.rollout.sample_responses", sampling)
    reporter = Listening()
    config = tiny_runs.ppo(tmp_path / "run", steps=8, ppo__learning_rate=5e-3, kl__coef=0.5)
    run_ppo(config, reporter)
    rows = read_rows(tmp_path / "run", "metrics")[1:]
    alarmed = [row["step"] for row in rows if row.get("objective/kl_alarm") == 1]
    assert alarmed == [row["step"] for row in rows if row["objective/kl"] < -1]
    assert alarmed
    told = [text.partition(":")[0] for text in reporter.messages if "KL alarm" in text]
    assert told == [f"step {step}" for step in alarmed]
