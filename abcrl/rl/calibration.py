"""What is measured on SFT responses before PPO begins and stays as it is from then on.

The score's offset, with which SFT responses average 0: dense rewards make the gradient depend on a
constant added to every score, so the constant must be chosen on purpose and be the same in every
arm. And the frozen credit that some controls draw on. Both are drawn from the SFT model with a
stream that belongs to the data, not to the run's seed, so all arms and seeds of a comparison share
them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from abcrl.config import PpoSettings
from abcrl.data import PromptSource

from .actors import Actors
from .evidence import needs_reference
from .reference_credit import ReferenceCredit
from .responses import Responses
from .sampling import SharedDraws, sample_responses


@dataclass(frozen=True)
class Calibration:
    """What SFT responses say.

    Attributes:
        score_offset: Subtracted from every score before it is spread.
        reference: Their credit; None where the mode does not look at it.
    """

    score_offset: float = 0.0
    reference: ReferenceCredit | None = None


def calibrate(
    actors: Actors, prompts: PromptSource, draws: SharedDraws, settings: PpoSettings
) -> Calibration:
    """Returns what is frozen before the first step.

    The offset is the mean score of `score.center_samples` responses, or 0; the reference is made of
    `reward.reference_responses`, where the mode needs one.
    """

    def sample(total: int) -> Iterator[Responses]:
        size = settings.evaluation.batch_size
        for start in range(0, total, size):
            yield sample_responses(
                actors.ref_policy,
                prompts.take(start, min(size, total - start)),
                draws,
                settings.response,
                eos_token_id=actors.eos_token_id,
            )

    offset, reference = 0.0, None
    if settings.score.center == "sft":
        responses = sample(settings.score.center_samples)
        scores = [actors.scorer.score(batch).scores.double() for batch in responses]
        offset = float(torch.cat(scores).mean())
    if needs_reference(settings.reward.mode):
        reference = _fit_reference(actors, sample(settings.reward.reference_responses), settings)
    return Calibration(offset, reference)


def _fit_reference(
    actors: Actors, batches: Iterator[Responses], settings: PpoSettings
) -> ReferenceCredit:
    attention, masks = [], []
    for responses in batches:
        scored = actors.scorer.score(responses, frozenset({"reward_attention"}))
        assert scored.reward_attention is not None  # it was asked for
        missing = settings.response.cap_high - responses.response_width
        attention.append(pad(scored.reward_attention, (0, missing)))
        masks.append(pad(responses.response_mask, (0, missing)))
    return ReferenceCredit.fit(torch.cat(attention), torch.cat(masks))
