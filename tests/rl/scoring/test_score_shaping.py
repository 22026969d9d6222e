"""Scores before they are spread, and the missing-EOS penalty after it."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.metrics import rollout_metrics
from abcrl.rl.rollout import Rollout, collect_rollout
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.rl.scoring.calibration import Calibration
from abcrl.rl.scoring.shaping import RunningDeviation, charge_missing_eos, shape_scores
from tests.rl.rollouts import collect, with_mode

BATCHES = st.lists(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=6), min_size=1)


@pytest.mark.parametrize(
    ("offset", "scale", "clip", "expected"),
    [
        (0.0, 1.0, None, [-4.0, 1.0, 6.0]),
        (1.0, 1.0, None, [-5.0, 0.0, 5.0]),
        (1.0, 2.0, None, [-2.5, 0.0, 2.5]),
        (1.0, 2.0, 2.0, [-2.0, 0.0, 2.0]),  # clipped last
        (2.0, 4.0, 2.0, [-1.5, -0.25, 1.0]),
    ],
)
def test_a_score_is_shifted_scaled_and_clipped_in_that_order(offset, scale, clip, expected):
    scores = torch.tensor([-4.0, 1.0, 6.0])
    assert_close(
        shape_scores(scores, offset=offset, scale=scale, clip=clip), torch.tensor(expected)
    )


@given(BATCHES)
def test_the_running_deviation_is_that_of_all_numbers_so_far(batches):
    running = RunningDeviation()
    seen: list[float] = []
    for batch in batches:
        running.update(torch.tensor(batch))
        seen += batch
        everything = torch.tensor(seen).double()
        expected = 1.0 if len(set(seen)) == 1 else float(everything.std())
        assert running.count == len(seen)
        assert running.mean == pytest.approx(float(everything.mean()), abs=1e-9)
        if expected > 1e-6:
            assert running.value == pytest.approx(expected, rel=1e-6)


def test_the_running_deviation_by_hand():
    running = RunningDeviation()
    assert running.value == 1.0
    running.update(torch.tensor([3.0, 3.0]))
    assert running.value == 1.0  # they do not differ yet
    running.update(torch.tensor([0.0, 6.0]))  # 3, 3, 0, 6: squares 0 + 0 + 9 + 9, over 3
    assert running.value == pytest.approx(math.sqrt(6))


def test_the_penalty_is_on_the_last_token_of_what_has_no_eos():
    scores = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    ended = torch.tensor([False, True, False])
    assert charge_missing_eos(scores, ended, mask, 0.5).tolist() == [
        [1.0, 1.5, 0.0],
        [1.0, 2.0, 3.0],
        [3.5, 0.0, 0.0],
    ]
    assert torch.equal(charge_missing_eos(scores, ended, mask, 0.0), scores)


def shaped_rollout(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings, calibration: Calibration
) -> Rollout:
    draws = SharedDraws(settings.response, seed=3, stream="response")
    return collect_rollout(actors, prompts, draws, settings, kl_coef=0.2, calibration=calibration)


@pytest.mark.parametrize("mode", ["abc", "rlhf", "uniform", "red"])
def test_token_scores_sum_to_the_shaped_score(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    calibration = Calibration(0.3, sft_deviation=0.5, clip=1.0)
    rollout = shaped_rollout(drifted_actors, prompts, with_mode(settings, mode), calibration)
    raw = (rollout.scored.scores - 0.3) / 0.5
    assert (raw.abs() > 1).any()
    assert_close(rollout.token_scores.sum(-1), raw.clamp(-1, 1), atol=1e-5, rtol=0)
    assert rollout_metrics(rollout, drifted_actors, kl_coef=0.2)["score/scale"] == 0.5


def test_a_running_scale_takes_a_batch_in_before_it_scales_it(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    calibration = Calibration(running=RunningDeviation())
    first = shaped_rollout(drifted_actors, prompts[:8], settings, calibration)
    deviation = float(first.scored.scores.double().std())
    assert first.score_scale == pytest.approx(deviation)
    assert_close(first.token_scores.sum(-1), first.scored.scores / deviation, atol=1e-4, rtol=0)

    second = shaped_rollout(drifted_actors, prompts[8:], settings, calibration)
    both = torch.cat([first.scored.scores, second.scored.scores])
    assert second.score_scale == pytest.approx(float(both.double().std()))


def test_statistics_of_a_checkpoint_give_the_same_scale_to_the_bit(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    going = Calibration(0.1, running=RunningDeviation(), clip=2.0)
    shaped_rollout(drifted_actors, prompts[:8], settings, going)
    stored = copy.deepcopy(going.statistics())
    resumed = Calibration(running=RunningDeviation(), clip=2.0).restored(stored)
    for calibration in (going, resumed):
        shaped_rollout(drifted_actors, prompts[8:], settings, calibration)
    assert resumed == going
    fixed = Calibration(0.1, sft_deviation=0.7)
    assert Calibration().restored(fixed.statistics()) == fixed


def test_the_penalty_lowers_the_return_of_cut_responses_alone(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    plain = collect(drifted_actors, prompts, settings)
    charged = collect(drifted_actors, prompts, with_mode(settings, "abc", missing_eos_penalty=1.5))
    cut = ~plain.responses.ended(drifted_actors.eos_token_id)
    assert cut.any()
    assert not cut.all()
    # outside of the rule that token scores sum to the score
    assert torch.equal(charged.token_scores, plain.token_scores)
    difference = (plain.token_rewards - charged.token_rewards).sum(-1)
    assert_close(difference, 1.5 * cut.float(), atol=1e-5, rtol=0)


def test_nothing_is_shaped_by_default(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollout = collect(drifted_actors, prompts, settings)
    assert rollout.score_scale is None
    assert "score/scale" not in rollout_metrics(rollout, drifted_actors, kl_coef=0.2)
    assert Calibration().shape(rollout.scored.scores).equal(rollout.scored.scores)
