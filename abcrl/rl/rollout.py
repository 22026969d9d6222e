"""The rollout: from prompts to whitened advantages, in six steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.densification import Credit, needs

from .actors import Actors
from .formulas.advantages import Advantages, estimate_advantages
from .formulas.kl import shape_token_rewards, token_kl
from .formulas.masked import whiten
from .sampling.responses import Responses
from .sampling.sampler import SharedDraws, sample_responses
from .scoring.calibration import Calibration
from .scoring.evidence import gather_evidence, spread_scores
from .scoring.scorer import Scored
from .scoring.shaping import charge_missing_eos
from .token_statistics import TokenStatistics, evaluate_tokens


@dataclass(frozen=True)
class Rollout:
    """One batch of responses and everything that PPO learns from it."""

    responses: Responses
    scored: Scored
    """As the reward model gives it, before it is shifted, scaled and clipped."""
    tokens: TokenStatistics
    credit: Credit
    token_scores: Float[Tensor, "B R"]
    token_rewards: Float[Tensor, "B R"]
    advantages: Float[Tensor, "B R"]
    """Whitened over the batch."""
    returns: Float[Tensor, "B R"]
    score_scale: float | None
    """What scores were divided by; None: by nothing."""


def collect_rollout(
    actors: Actors,
    prompts: Sequence[Prompt],
    draws: SharedDraws,
    settings: PpoSettings,
    *,
    kl_coef: float,
    calibration: Calibration,
) -> Rollout:
    """Returns one batch of experience.

    Args:
        actors: The networks.
        prompts: One per response.
        draws: The prompts' random numbers.
        settings: Response, reward and algorithm settings.
        kl_coef: KL penalty weight in force.
        calibration: What SFT responses said; a running scale takes this batch's scores in.

    Raises:
        RunFailedError: A score is not finite.
    """
    wanted = needs(settings.reward.mode)
    # 1. responses, 2. their scores
    responses = sample_responses(
        actors.policy.model, prompts, draws, settings.response, eos_token_id=actors.eos_token_id
    )
    scored = actors.scorer.score(responses, wanted)
    # 3. what policy and reference say about each token
    tokens = evaluate_tokens(
        actors, responses, settings, with_attention="policy_attention" in wanted
    )
    # 4. the score spread over the tokens, 5. less the penalties
    evidence = gather_evidence(
        responses,
        scored,
        tokens.policy_attention,
        prompts=prompts,
        draws=draws,
        reference=calibration.reference,
    )
    calibration.observe(scored.scores)
    scores = calibration.shape(scored.scores)
    credit, token_scores = spread_scores(scores, evidence, settings.reward)
    mask, ended = responses.response_mask, responses.ended(actors.eos_token_id)
    charged = charge_missing_eos(token_scores, ended, mask, settings.reward.missing_eos_penalty)
    penalty = token_kl(tokens.logprobs, tokens.ref_logprobs)
    token_rewards = shape_token_rewards(charged, penalty, kl_coef, mask)
    # 6. advantages
    advantages = whitened_advantages(token_rewards, tokens.values, responses, settings)
    return Rollout(
        responses,
        scored,
        tokens,
        credit,
        token_scores,
        token_rewards,
        *advantages,
        score_scale=calibration.scale,
    )


def whitened_advantages(
    token_rewards: Float[Tensor, "B R"],
    values: Float[Tensor, "B R"],
    responses: Responses,
    settings: PpoSettings,
) -> Advantages:
    """Returns GAE's advantages, whitened over the batch, and the returns."""
    mask = responses.response_mask
    advantages, returns = estimate_advantages(
        token_rewards, values, mask, settings.ppo.gamma, settings.ppo.gae_lambda
    )
    return Advantages(whiten(advantages, mask), returns)
