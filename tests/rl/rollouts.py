"""Rollouts and samples for tests that need whole models."""

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.rl.actors import Actors
from abcrl.rl.rollout import Rollout, collect_rollout
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.scoring.calibration import Calibration
from abcrl.rl.scoring.evidence import needs_reference
from abcrl.rl.scoring.reference_credit import ReferenceCredit


def with_mode(settings: PpoSettings, mode: str, **options: object) -> PpoSettings:
    return PpoSettings.model_validate(
        {**settings.model_dump(), "reward": {"mode": mode, **options}}
    )


def collect(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings, *, score_offset: float = 0.0
) -> Rollout:
    draws = SharedDraws(settings.response, seed=3, stream="response")
    calibration = calibration_of(actors, prompts, settings, score_offset)
    return collect_rollout(actors, prompts, draws, settings, kl_coef=0.2, calibration=calibration)


def calibration_of(
    actors: Actors, prompts: list[Prompt], settings: PpoSettings, score_offset: float = 0.0
) -> Calibration:
    """Returns an offset and, where the mode looks at one, the credit of sampled responses."""
    if not needs_reference(settings.reward.mode):
        return Calibration(score_offset)
    responses = sample(actors, prompts, settings)
    attention = actors.scorer.score(responses, frozenset({"reward_attention"})).reward_attention
    assert attention is not None
    return Calibration(score_offset, ReferenceCredit.fit(attention, responses.response_mask))


def sample(actors: Actors, prompts: list[Prompt], settings: PpoSettings) -> Responses:
    return sample_responses(
        actors.policy.model,
        prompts,
        SharedDraws(settings.response, seed=3, stream="response"),
        settings.response,
        eos_token_id=actors.eos_token_id,
    )
