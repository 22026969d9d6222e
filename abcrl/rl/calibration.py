"""The score's offset, set once: SFT responses then average 0.

Dense rewards make the gradient depend on a constant added to every score, so the constant must be
chosen on purpose and be the same in every arm. It is drawn from the SFT model with a stream that
belongs to the data, not to the run's seed, so all arms and seeds of a comparison share it.
"""

from collections.abc import Iterator

import torch

from abcrl.config import PpoSettings
from abcrl.data import PromptSource

from .rollout import Actors, score_responses
from .sampling import SharedDraws, sample_responses

# Prompts are sampled this many at a time; which does not change the responses.
_BATCH = 64


def calibrate_offset(
    actors: Actors, prompts: PromptSource, draws: SharedDraws, settings: PpoSettings
) -> float:
    """Returns the mean score of `score.center_samples` responses of the reference; 0 for none."""
    if settings.score.center == "none":
        return 0.0
    scores = []
    for start, count in _batches(settings.score.center_samples):
        responses = sample_responses(
            actors.ref_policy,
            prompts.take(start, count),
            draws,
            settings.response,
            eos_token_id=actors.eos_token_id,
        )
        batch, _ = score_responses(actors.reward_model, responses, with_attention=False)
        scores.append(batch.double())
    return float(torch.cat(scores).mean())


def _batches(total: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, _BATCH):
        yield start, min(_BATCH, total - start)
