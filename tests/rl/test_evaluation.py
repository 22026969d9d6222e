"""Held-out evaluation: the same numbers whenever the same policy is asked, and honest samples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from abcrl.config import PpoSettings, RewardMode
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.evaluation import Evaluator, distinct_2
from abcrl.rl.sampling import SharedDraws
from tests.rl.rollouts import calibration_of

MakeActors = Callable[..., Actors]
BASIC = {
    "eval/score",
    "eval/score_se",
    "eval/kl_exact",
    "eval/length",
    "eval/eos_rate",
    "eval/distinct_2",
}
GOLD = {"eval/gold_score", "eval/gold_score_se"}


def spell(ids: list[int]) -> str:
    return "-".join(map(str, ids))


def count_parts(text: str) -> float:
    return float(text.count("-") + 1)


def evaluator(
    actors: Actors,
    prompts: list[Prompt],
    settings: PpoSettings,
    *,
    mode: str = "abc",
    samples: int = 3,
    offset: float = 0.5,
    gold: Callable[[str], float] | None = None,
) -> Evaluator:
    changed: Any = settings.model_dump()
    changed |= {"reward": {"mode": mode}, "evaluation": {"samples": samples, "prompts": 16}}
    chosen = PpoSettings.model_validate(changed)
    draws = SharedDraws(chosen.response, seed=7, stream="evaluation")
    calibration = calibration_of(actors, prompts, chosen, offset)
    return Evaluator(prompts, draws, chosen, calibration, spell, gold)


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([[1, 2, 3, 4]], 1.0),  # 12 23 34
        ([[1, 1, 1, 1, 1]], 1 / 4),  # 11 four times
        ([[1, 2, 1, 2]], 2 / 3),  # 12 21 12
        ([[1, 2, 3], [1, 2, 4]], 3 / 4),  # 12 23 | 12 24
        ([[1, 2], [2, 1]], 1.0),  # order counts
        ([[1, 2, 3], [9]], 1.0),  # one token makes no pair, and no pair crosses two responses
        ([[4], [4]], 0.0),  # no pair at all
    ],
)
def test_distinct_2_counts_neighbouring_pairs(responses, expected):
    assert distinct_2(responses) == pytest.approx(expected)


@pytest.mark.parametrize("mode", list(RewardMode))
def test_the_same_policy_gets_the_same_numbers(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    asked = evaluator(drifted_actors, prompts, settings, mode=mode, gold=count_parts)
    torch.manual_seed(0)
    first = asked.evaluate(drifted_actors)
    torch.manual_seed(1)
    assert asked.evaluate(drifted_actors) == first


def test_metrics_have_their_names(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    metrics, _ = evaluator(drifted_actors, prompts, settings).evaluate(drifted_actors)
    assert metrics.keys() == BASIC
    metrics, _ = evaluator(drifted_actors, prompts, settings, gold=count_parts).evaluate(
        drifted_actors
    )
    assert metrics.keys() == BASIC | GOLD
    assert all(isinstance(value, float) for value in metrics.values())


def test_metrics_are_means_over_the_prompts(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    asked = evaluator(drifted_actors, prompts, settings, samples=16, gold=count_parts)
    metrics, samples = asked.evaluate(drifted_actors)
    rows: Any = samples
    scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
    lengths = torch.tensor([len(row["response_ids"]) for row in rows], dtype=torch.float64)
    prompt_lengths = torch.tensor([len(prompt.ids) for prompt in prompts])

    assert metrics["eval/score"] == pytest.approx(float(scores.mean()))
    assert metrics["eval/score_se"] == pytest.approx(float(scores.std() / 4))
    assert metrics["eval/length"] == pytest.approx(float(lengths.mean()))
    ended = [row["response_ids"][-1] == drifted_actors.eos_token_id for row in rows]
    assert 0 < sum(ended) < 16
    assert metrics["eval/eos_rate"] == pytest.approx(sum(ended) / 16)
    assert metrics["eval/kl_exact"] > 0.05
    # The gold score is asked about prompt and response together.
    gold = (lengths + prompt_lengths).mean()
    assert metrics["eval/gold_score"] == pytest.approx(float(gold))


def test_a_policy_that_is_its_reference_has_no_kl(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    metrics, _ = evaluator(make_actors(), prompts, settings).evaluate(make_actors())
    assert metrics["eval/kl_exact"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mode", list(RewardMode))
def test_samples_show_a_response_and_how_its_score_is_spread(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    asked = evaluator(drifted_actors, prompts, settings, mode=mode, samples=16, gold=count_parts)
    _, samples = asked.evaluate(drifted_actors)
    rows: Any = samples

    assert [row["prompt_index"] for row in rows] == [prompt.index for prompt in prompts]
    for row, prompt in zip(rows, prompts, strict=True):
        assert row["prompt_ids"] == list(prompt.ids)
        assert row["prompt"] == spell(row["prompt_ids"])
        assert row["response"] == spell(row["response_ids"])
        assert len(row["credit"]) == len(row["token_scores"]) == len(row["response_ids"])
        assert sum(row["credit"]) == pytest.approx(1, abs=1e-6)
        assert min(row["credit"]) >= 0
        # The score is as the reward model gives it; what is spread is less the offset.
        assert sum(row["token_scores"]) == pytest.approx(row["score"] - 0.5, abs=1e-5)
        assert row["gold_score"] == count_parts(row["prompt"] + "-" + row["response"])
    assert len({len(row["response_ids"]) for row in rows}) > 2


def test_as_many_samples_as_asked_for(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    metrics, samples = evaluator(drifted_actors, prompts, settings, samples=3).evaluate(
        drifted_actors
    )
    assert len(samples) == 3
    without, none = evaluator(drifted_actors, prompts, settings, samples=0).evaluate(drifted_actors)
    assert none == []
    assert without == metrics
    _, all_rows = evaluator(drifted_actors, prompts[:2], settings, samples=3).evaluate(
        drifted_actors
    )
    assert len(all_rows) == 2
    assert "gold_score" not in samples[0]
