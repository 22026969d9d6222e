"""The score's offset, set once: SFT responses then average 0.

Dense rewards make the gradient depend on a constant added to every score, so the constant must be
chosen on purpose and be the same in every arm. It is drawn from the SFT model with a stream that
belongs to the data, not to the run's seed, so all arms and seeds of a comparison share it.
"""

import torch

from abcrl.config import PpoSettings
from abcrl.data import PromptSource

from .actors import Actors
from .rollout import score_responses
from .sampling import SharedDraws, sample_responses


def calibrate_offset(
    actors: Actors, prompts: PromptSource, draws: SharedDraws, settings: PpoSettings
) -> float:
    """Returns the mean score of `score.center_samples` responses of the reference; 0 for none."""
    if settings.score.center == "none":
        return 0.0
    scores = []
    total, batch_size = settings.score.center_samples, settings.evaluation.batch_size
    for start in range(0, total, batch_size):
        responses = sample_responses(
            actors.ref_policy,
            prompts.take(start, min(batch_size, total - start)),
            draws,
            settings.response,
            eos_token_id=actors.eos_token_id,
        )
        batch, _ = score_responses(actors.reward_model, responses, with_attention=False)
        scores.append(batch.double())
    return float(torch.cat(scores).mean())
