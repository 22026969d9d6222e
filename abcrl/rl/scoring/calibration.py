"""What is measured on SFT responses before PPO begins, and what is done to scores with it.

The score's offset, with which SFT responses average 0: dense rewards make the gradient depend on a
constant added to every score, so the constant must be chosen on purpose and be the same in every
arm. Their scores' deviation, where scores are to be divided by it. And the frozen credit that some
controls draw on. All are drawn from the SFT model with a stream that belongs to the data, not to
the run's seed, so all arms and seeds of a comparison share them, and stay as they are; a running
deviation alone goes on with the run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from abcrl.config import PpoSettings, RunFailedError
from abcrl.data import PromptSource
from abcrl.models import PolicyWithValueHead
from abcrl.rl.actors import Actors
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses

from .evidence import needs_reference
from .reference_credit import ReferenceCredit
from .shaping import RunningDeviation, shape_scores


@dataclass(frozen=True)
class Calibration:
    """What SFT responses say, and how scores are shaped.

    Attributes:
        score_offset: Subtracted from every score before it is spread.
        reference: Credit of SFT responses; None where the mode does not look at it.
        sft_deviation: What scores are divided by, once and for all; None: not by that.
        running: The deviation of all scores of the run so far; None: they are not divided by it.
        clip: Scores are clipped to plus and minus this; None: they are not.
    """

    score_offset: float = 0.0
    reference: ReferenceCredit | None = None
    sft_deviation: float | None = None
    running: RunningDeviation | None = None
    clip: float | None = None

    @property
    def scale(self) -> float | None:
        """What scores are divided by at present; None: by nothing."""
        return self.sft_deviation if self.running is None else self.running.value

    @property
    def changes_only_the_offset(self) -> bool:
        """Whether a shaped score is the score less the offset."""
        return self.scale is None and self.clip is None

    def observe(self, scores: Float[Tensor, " B"]) -> None:
        """Takes the scores of a training batch into the running deviation, where there is one."""
        if self.running is not None:
            self.running.update(scores)

    def shape(self, scores: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Returns what is spread over the tokens: see `shape_scores`."""
        scale = 1.0 if self.scale is None else self.scale
        return shape_scores(scores, offset=self.score_offset, scale=scale, clip=self.clip)

    def statistics(self) -> dict[str, float]:
        """Returns all numbers that a checkpoint must keep; `restored` takes them back."""
        numbers = {"score_offset": self.score_offset}
        if self.sft_deviation is not None:
            numbers["sft_deviation"] = self.sft_deviation
        if self.running is not None:
            numbers |= {f"running_{name}": value for name, value in vars(self.running).items()}
        return numbers

    def restored(self, numbers: Mapping[str, float]) -> "Calibration":
        """Returns a copy with the statistics of a checkpoint in place of its own."""
        running = None
        if "running_count" in numbers:
            running = RunningDeviation(
                int(numbers["running_count"]), numbers["running_mean"], numbers["running_squares"]
            )
        return replace(
            self,
            score_offset=numbers["score_offset"],
            sft_deviation=numbers.get("sft_deviation"),
            running=running,
        )


def calibrate(
    actors: Actors, prompts: PromptSource, draws: SharedDraws, settings: PpoSettings
) -> Calibration:
    """Returns what is known before the first step.

    Offset and scale are mean and standard deviation of the scores of `score.center_samples`
    responses, as far as `score.center` and `score.scale` ask for them; the reference is made of
    `reward.reference_responses`, where the mode needs one.

    Raises:
        RunFailedError: Scores are to be divided by the deviation of SFT responses, which is 0.
    """

    def sample(total: int) -> Iterator[Responses]:
        size = settings.evaluation.batch_size
        for start in range(0, total, size):
            batch = prompts.take(start, min(size, total - start))
            with actors.reference() as model:
                responses = sample_responses(
                    model, batch, draws, settings.response, eos_token_id=actors.eos_token_id
                )
            yield responses

    score, reference = settings.score, None
    moments = _Moments()
    if score.center == "sft" or score.scale == "sft":
        moments = _measure_scores(actors, sample(score.center_samples))
    if score.scale == "sft" and not moments.deviation > 0:
        raise RunFailedError(
            "score.scale is sft, but all SFT responses have the same score; set it to none, or "
            "check the reward model"
        )
    if needs_reference(settings.reward.mode):
        reference = _fit_reference(actors, sample(settings.reward.reference_responses), settings)
    return Calibration(
        score_offset=moments.mean if score.center == "sft" else 0.0,
        reference=reference,
        sft_deviation=moments.deviation if score.scale == "sft" else None,
        running=RunningDeviation() if score.scale == "running" else None,
        clip=score.clip,
    )


def set_value_units(policy: PolicyWithValueHead, calibration: Calibration) -> None:
    """Lets a value function that starts as the reward model say what PPO sees of its scores."""
    policy.value_offset = calibration.score_offset
    policy.value_scale = calibration.sft_deviation or 1.0


class _Moments(NamedTuple):
    mean: float = 0.0
    deviation: float = 0.0


def _measure_scores(actors: Actors, batches: Iterator[Responses]) -> _Moments:
    scores = torch.cat([actors.scorer.score(batch).scores.cpu().double() for batch in batches])
    deviation = float(scores.std()) if len(scores) > 1 else 0.0
    return _Moments(float(scores.mean()), deviation)


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
