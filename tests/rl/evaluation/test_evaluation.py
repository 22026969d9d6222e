"""Held-out evaluation: the same numbers whenever the same policy is asked, and honest samples."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch

from abcrl.config import PpoSettings, RewardMode
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.evaluation.diversity import repetition_n
from abcrl.rl.evaluation.evaluated import EvaluatedResponse, summarise_responses
from abcrl.rl.evaluation.evaluator import Evaluator
from abcrl.rl.sampling.sampler import SharedDraws
from tests.rl.rollouts import calibration_of

MakeActors = Callable[..., Actors]
BASIC = {
    "eval/score",
    "eval/score_se",
    "eval/kl_exact",
    "eval/length",
    "eval/eos_rate",
    "eval/distinct_2",
    "eval/repetition",
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
    repetition = [repetition_n(row["response_ids"], 4) for row in rows]
    assert metrics["eval/repetition"] == pytest.approx(sum(repetition) / 16)
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


@pytest.mark.parametrize("size", [1, 3, 16])
def test_responses_do_not_depend_on_the_batch(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, size
):
    asked = evaluator(drifted_actors, prompts, settings, samples=0, gold=count_parts)
    batches = {"evaluation": settings.evaluation.replace(batch_size=size, samples=0)}
    resized = replace(asked, settings=settings.replace(**batches))
    found = [list(one.respond(drifted_actors)) for one in (asked, resized)]
    assert [len(batch) for batch in found[1]] == [size] * (16 // size) + [16 % size] * (
        16 % size > 0
    )
    for row, other in zip(*(chain(*batches) for batches in found), strict=True):
        assert row.prompt == other.prompt
        assert row.response_ids == other.response_ids
        assert row.gold_score == other.gold_score
        assert row.score == pytest.approx(other.score, abs=1e-5)
        assert row.kl == pytest.approx(other.kl, abs=1e-5)


def test_without_a_reference_there_is_no_kl(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings
):
    actors = replace(make_actors(), ref_policy=None)
    asked = replace(evaluator(actors, prompts, settings), with_kl=False)
    metrics, _ = asked.evaluate(actors)
    assert metrics.keys() == BASIC - {"eval/kl_exact"}
    assert summarise_responses([[row] for row in chain(*asked.respond(actors))]).kl_exact is None


def response(score: float, ids: list[int], kl: float, *, ended: bool = False) -> EvaluatedResponse:
    return EvaluatedResponse(Prompt(0, (1,)), ids, score, kl, ended, None, [], [], 0.0)


def test_errors_are_those_of_the_prompts_means():
    # Means 1, 3, 8 over prompts, s = sqrt(13), whatever the responses to one prompt do.
    rows = [
        [response(0.0, [1, 2], 1.0), response(2.0, [1, 2, 3, 4], 2.0, ended=True)],
        [response(3.0, [5, 5, 5, 5, 5], 3.0, ended=True), response(3.0, [5], 0.0, ended=True)],
        [response(8.0, [6], 5.0), response(8.0, [7], 5.0)],
    ]
    found = summarise_responses(rows)
    assert found.score.mean == pytest.approx(4)
    assert found.score.standard_error == pytest.approx((13 / 3) ** 0.5)
    assert found.kl_exact is not None
    assert found.kl_exact.mean == pytest.approx((1.5 + 1.5 + 5) / 3)
    assert found.length.mean == pytest.approx((3 + 3 + 1) / 3)
    assert found.length.standard_error == pytest.approx((4 / 3 / 3) ** 0.5)
    assert found.eos_rate.mean == pytest.approx(0.5)
    assert found.distinct_1 == pytest.approx(7 / 14)
    assert found.distinct_2 == pytest.approx(4 / 8)  # 12 23 34 55
    assert found.distinct_3 == pytest.approx(3 / 5)  # 123 234 555
    assert found.repetition.mean == pytest.approx(0.25 / 3)  # 5555 twice in one of two responses
    assert found.gold_score is None
