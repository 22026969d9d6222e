"""What SFT responses say of the scores, before the first step."""

from collections.abc import Callable

import pytest
import torch

from abcrl.config import PpoSettings, PromptConfig, RunFailedError
from abcrl.data import PromptSource, TextBeginnings
from abcrl.data.records import Example
from abcrl.rl.actors import Actors
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.scoring.calibration import Calibration, calibrate, set_value_units
from tests.rl.network_kinds import KINDS, actors_of_kind

MakeActors = Callable[..., Actors]


def source() -> PromptSource:
    def encode(texts: list[str]) -> list[list[int]]:
        return [[2 + ord(letter) % 14 for letter in text] for text in texts]

    examples = [Example(text) for text in ("a prompt", "and another", "the third of them")]
    config = PromptConfig(min_tokens=1, max_tokens=6, min_characters=0)
    return PromptSource(TextBeginnings(examples, encode, config), seed=0, stream="prompts")


def calibrated(actors: Actors, settings: PpoSettings, **score: object) -> Calibration:
    chosen = settings.replace(score=settings.score.replace(center_samples=30, **score))
    draws = SharedDraws(settings.response, seed=0, stream="calibration")
    return calibrate(actors, source(), draws, chosen)


def test_shaped_scores_of_sft_responses_have_mean_0_and_deviation_1(
    make_actors: MakeActors, settings: PpoSettings
):
    actors = make_actors()
    responses = sample_responses(
        actors.policy.model,  # which is its reference
        source().take(0, 30),
        SharedDraws(settings.response, seed=0, stream="calibration"),
        settings.response,
        eos_token_id=actors.eos_token_id,
    )
    scores = actors.scorer.score(responses).scores
    shaped = calibrated(actors, settings, scale="sft").shape(scores).double()
    assert float(shaped.mean()) == pytest.approx(0, abs=1e-5)
    assert float(shaped.std()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("score", "centred", "scaled", "running", "clip"),
    [
        ({}, True, False, False, None),
        ({"center": "none"}, False, False, False, None),
        ({"center": "none", "scale": "sft"}, False, True, False, None),
        ({"scale": "sft", "clip": 2.0}, True, True, False, 2.0),
        ({"scale": "running"}, True, False, True, None),
    ],
)
def test_what_is_measured_is_what_was_asked_for(
    make_actors: MakeActors, settings: PpoSettings, score, centred, scaled, running, clip
):
    calibration = calibrated(make_actors(), settings, **score)
    assert (calibration.score_offset != 0) == centred
    assert (calibration.sft_deviation is not None) == scaled
    assert (calibration.running is not None) == running
    assert calibration.clip == clip


def test_a_reward_model_that_always_says_the_same_gives_no_scale(
    make_actors: MakeActors, settings: PpoSettings
):
    actors = make_actors()
    with torch.no_grad():
        actors.scorer.reward_model.model.get_parameter("score.weight").zero_()
    with pytest.raises(RunFailedError, match=r"^score\.scale is sft, but"):
        calibrated(actors, settings, scale="sft")
    assert calibrated(actors, settings, scale="running").scale == 1.0


def test_the_policy_with_its_adapters_off_gives_the_same_numbers(
    make_actors: MakeActors, settings: PpoSettings
):
    expected = calibrated(make_actors(), settings, scale="sft")
    adapted = actors_of_kind(make_actors(), settings, **KINDS["lora"])
    with torch.no_grad():
        for name, parameter in adapted.policy.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
    assert calibrated(adapted, settings, scale="sft") == expected


def test_values_that_start_as_scores_are_shifted_and_scaled_as_scores_are(make_actors):
    policy = make_actors().policy
    set_value_units(policy, Calibration(0.5, sft_deviation=2.0))
    assert (policy.value_offset, policy.value_scale) == (0.5, 2.0)
    set_value_units(policy, Calibration(0.5))
    assert (policy.value_offset, policy.value_scale) == (0.5, 1.0)
