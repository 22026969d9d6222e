"""What a mode looks at belongs to the response: not to its batch, and not to how it was sampled."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from abcrl.config import InputError, PpoSettings, PromptConfig, RewardMode
from abcrl.data import Example, Prompt, PromptSource, TextBeginnings
from abcrl.densification import effective_tokens
from abcrl.models import CaptureError
from abcrl.rl.actors import Actors
from abcrl.rl.rollout import collect_rollout
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.rl.scoring.calibration import calibrate
from abcrl.rl.scoring.evidence import verify_evidence
from tests.rl.rollouts import calibration_of, collect, sample, with_mode

MakeActors = Callable[..., Actors]
CONTROLS = ["shuffled", "swapped", "position", "random"]


def verify(actors: Actors, responses: Responses, settings: PpoSettings) -> None:
    verify_evidence(
        settings.reward.mode,
        responses,
        scorer=actors.scorer,
        policy=actors.policy.model,
        options=settings.reward,
    )


@pytest.mark.parametrize("mode", list(RewardMode))
def test_credit_does_not_depend_on_the_batch(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    chosen = with_mode(settings, mode)
    calibration = calibration_of(drifted_actors, prompts, chosen, 0.5)
    draws = SharedDraws(settings.response, seed=3, stream="response")

    def weights_of(rows: list[int]) -> list[torch.Tensor]:
        rollout = collect_rollout(
            drifted_actors,
            [prompts[row] for row in rows],
            draws,
            chosen,
            kl_coef=0.2,
            calibration=calibration,
        )
        masks = rollout.responses.response_mask
        parts = torch.stack([rollout.credit.weights, rollout.token_scores], dim=1)
        return [part[:, mask] for part, mask in zip(parts, masks, strict=True)]

    rows = [11, 2, 7, 14, 5]
    for row, together in zip(rows, weights_of(rows), strict=True):
        [alone] = weights_of([row])
        assert_close(alone, together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["shuffled", "swapped", "random"])
def test_another_seed_draws_other_credit_for_the_same_responses(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings, mode
):
    chosen = with_mode(settings, mode)
    calibration = calibration_of(drifted_actors, prompts, chosen)

    class _OtherCredit(SharedDraws):
        """The same responses; what is drawn for any other purpose comes from another seed."""

        def uniforms(self, prompts: Any, purpose: str) -> Any:
            return SharedDraws(settings.response, seed=4, stream="response").uniforms(
                prompts, purpose
            )

    def credit(draws: SharedDraws) -> torch.Tensor:
        rollout = collect_rollout(
            drifted_actors, prompts, draws, chosen, kl_coef=0.2, calibration=calibration
        )
        return rollout.credit.weights

    first = credit(SharedDraws(settings.response, seed=3, stream="response"))
    again = credit(SharedDraws(settings.response, seed=3, stream="response"))
    other = credit(_OtherCredit(settings.response, seed=3, stream="response"))
    assert torch.equal(first, again)
    assert first.shape == other.shape
    assert not torch.allclose(first, other)


def test_uniforms_of_a_purpose_are_not_those_of_sampling(
    prompts: list[Prompt], settings: PpoSettings
):
    draws = SharedDraws(settings.response, seed=3, stream="response")
    _, sampled = draws.draw(prompts)
    credit, donor = draws.uniforms(prompts, "credit"), draws.uniforms(prompts, "donor")
    assert credit.shape == sampled.shape
    for one, other in ((sampled, credit), (sampled, donor), (credit, donor)):
        assert (one == other).float().mean() < 0.01
    assert torch.equal(draws.uniforms(prompts[3:5], "credit"), credit[3:5])
    assert credit.min() >= 0
    assert credit.max() < 1


def test_controls_keep_what_they_say(
    drifted_actors: Actors, prompts: list[Prompt], settings: PpoSettings
):
    rollouts = {
        mode: collect(drifted_actors, prompts, with_mode(settings, mode))
        for mode in ["abc", *CONTROLS]
    }
    abc, mask = rollouts["abc"].credit.weights, rollouts["abc"].responses.response_mask
    shuffled = rollouts["shuffled"].credit.weights
    assert_close(shuffled.sort(-1).values, abc.sort(-1).values, atol=1e-6, rtol=0)
    assert not torch.allclose(shuffled, abc)
    # The bank is made of these same responses, so each donor's length is its own.
    rows = {
        tuple(row[kept].tolist())
        for row, kept in zip(abc.double().round(decimals=5), mask, strict=True)
    }
    swapped = rollouts["swapped"].credit.weights.double().round(decimals=5)
    for row, kept in zip(swapped, mask, strict=True):
        assert tuple(row[kept].tolist()) in rows
    lengths = mask.sum(-1)
    position = rollouts["position"].credit.weights
    for length in set(lengths.tolist()):
        same = position[lengths == length]
        assert_close(same, same[:1].expand_as(same))
    random = effective_tokens(rollouts["random"].credit.weights)
    assert (random > 1).all()
    assert (random < lengths).all()


def test_the_reference_belongs_to_data_and_models(drifted_actors: Actors, settings: PpoSettings):
    def encode(texts: list[str]) -> list[list[int]]:
        return [[2 + ord(letter) % 14 for letter in text] for text in texts]

    examples = [Example(text) for text in ("a prompt", "and another", "the third of them")]
    config = PromptConfig(min_tokens=1, max_tokens=6, min_characters=0)
    source = PromptSource(TextBeginnings(examples, encode, config), seed=0, stream="prompts")
    draws = SharedDraws(settings.response, seed=0, stream="calibration")

    def reference_of(mode: str, batch_size: int = 64) -> Any:
        chosen = with_mode(settings, mode, reference_responses=40)
        chosen = chosen.replace(evaluation=chosen.evaluation.replace(batch_size=batch_size))
        return calibrate(drifted_actors, source, draws, chosen)

    swapped, position = reference_of("swapped"), reference_of("position")
    assert swapped.score_offset == position.score_offset == reference_of("abc").score_offset
    assert swapped.reference.weights.shape == (40, settings.response.cap_high)
    for name, tensor in swapped.reference.tensors().items():
        assert torch.equal(position.reference.tensors()[name], tensor)
        in_parts = reference_of("swapped", batch_size=7).reference.tensors()[name]
        assert_close(in_parts, tensor, atol=1e-5, rtol=0)
    assert reference_of("abc").reference is None
    assert reference_of("shuffled").reference is None


@pytest.mark.parametrize("mode", list(RewardMode))
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gptj"])
def test_evidence_that_can_be_had_passes_the_check(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, mode, architecture
):
    actors = make_actors(architecture)
    responses = sample(actors, prompts[:2], settings)
    verify(actors, responses, with_mode(settings, mode))


@pytest.mark.parametrize(
    ("mode", "options", "field"),
    [
        ("abc-d", {"layer": 3}, "reward.layer"),
        ("abc-d2", {"heads": [4]}, "reward.heads"),
        ("abc-d", {"heads": [1, 1]}, "reward.heads"),
    ],
)
def test_a_layer_or_head_that_the_policy_lacks_is_refused(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, mode, options, field
):
    actors = make_actors()
    responses = sample(actors, prompts[:2], settings)
    with pytest.raises(CaptureError, match=field):
        verify(actors, responses, with_mode(settings, mode, **options))


@pytest.mark.parametrize("mode", ["abc", "abc-d", "shuffled", "swapped", "position", "random"])
def test_an_architecture_that_shows_no_attention_is_refused_by_name(
    make_actors: MakeActors, prompts: list[Prompt], settings: PpoSettings, mode
):
    actors = make_actors("openai-gpt")
    responses = sample(actors, prompts[:2], settings)
    with pytest.raises(InputError, match="openai-gpt"):
        verify(actors, responses, with_mode(settings, mode))
    verify(actors, responses, with_mode(settings, "rlhf"))
    verify(actors, responses, with_mode(settings, "uniform"))
