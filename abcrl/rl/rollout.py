"""The rollout: from prompts to whitened advantages, in six steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from abcrl.config import PpoSettings, RunFailedError
from abcrl.data import Prompt
from abcrl.densification import Credit, needs

from .actors import Actors
from .advantages import Advantages, estimate_advantages
from .calibration import Calibration
from .evidence import capture_policy, gather_evidence, spread_scores
from .kl import exact_kl, shape_token_rewards, token_kl
from .logprobs import constrain_logits, gather_logprobs
from .losses import token_entropy
from .masked import whiten
from .reference_kl import reference_logits
from .responses import Responses
from .sampling import SharedDraws, sample_responses
from .score_shaping import charge_missing_eos
from .scoring import Scored

# Full-vocabulary tensors [b, R, V] of a pass without gradient hold at most this many numbers.
_LOGITS_AT_ONCE = 2**25


class TokenStatistics(NamedTuple):
    """What policy and reference say about each response token; garbage off the response mask."""

    logprobs: Float[Tensor, "B R"]
    ref_logprobs: Float[Tensor, "B R"]
    values: Float[Tensor, "B R"]
    entropy: Float[Tensor, "B R"]
    kl_exact: Float[Tensor, "B R"]
    policy_attention: Float[Tensor, "B R R"] | None


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


@torch.no_grad()
def evaluate_tokens(
    actors: Actors, responses: Responses, settings: PpoSettings, *, with_attention: bool
) -> TokenStatistics:
    """Returns log-probabilities, values, entropy and exact KL from one teacher-forced pass each.

    The distribution is the one that was sampled from: same temperature, same EOS ban, for policy
    and reference. By causality the policy's attention here equals that of generation.

    Raises:
        RunFailedError: A log-probability or value of a response token is not finite.
    """
    vocabulary = actors.policy.model.get_output_embeddings().weight.shape[0]
    parts = [
        _evaluate_rows(actors, chunk, settings, with_attention=with_attention)
        for chunk in _row_chunks(responses, vocabulary)
    ]
    attention = [part.policy_attention for part in parts if part.policy_attention is not None]
    tokens = TokenStatistics(
        logprobs=torch.cat([part.logprobs for part in parts]),
        ref_logprobs=torch.cat([part.ref_logprobs for part in parts]),
        values=torch.cat([part.values for part in parts]),
        entropy=torch.cat([part.entropy for part in parts]),
        kl_exact=torch.cat([part.kl_exact for part in parts]),
        policy_attention=torch.cat(attention) if attention else None,
    )
    _require_finite(tokens, responses)
    return tokens


def _require_finite(tokens: TokenStatistics, responses: Responses) -> None:
    finite = [tensor[responses.response_mask].isfinite().all() for tensor in tokens[:3]]
    for name, good in zip(tokens._fields, torch.stack(finite).tolist(), strict=False):
        if not good:
            raise RunFailedError(
                f"{name} are not finite: the weights are ruined; lower ppo.learning_rate or set "
                f"ppo.max_grad_norm"
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


def _evaluate_rows(
    actors: Actors, responses: Responses, settings: PpoSettings, *, with_attention: bool
) -> TokenStatistics:
    arguments = (responses.sequences, responses.attention_mask, responses.response_width)
    attention = None
    if with_attention:
        with capture_policy(actors.policy.model, responses, settings.reward) as capture:
            logits, values = actors.policy(*arguments)
        attention = capture.result()
    else:
        logits, values = actors.policy(*arguments)
    logits = constrain_logits(
        logits,
        temperature=settings.response.temperature,
        min_new_tokens=settings.response.min_new_tokens,
        eos_token_id=actors.eos_token_id,
    )
    ref_logits = reference_logits(actors, responses, settings.response)
    return TokenStatistics(
        logprobs=gather_logprobs(logits, responses.response_ids),
        ref_logprobs=gather_logprobs(ref_logits, responses.response_ids),
        values=values,
        entropy=token_entropy(logits),
        kl_exact=exact_kl(logits, ref_logits, responses.response_mask),
        policy_attention=attention,
    )


def _row_chunks(responses: Responses, vocabulary: int) -> Iterator[Responses]:
    """Yields rows in order, few enough at a time that their logits stay small."""
    rows = max(1, _LOGITS_AT_ONCE // (vocabulary * responses.response_width))
    for start in range(0, len(responses.sequences), rows):
        chosen = slice(start, start + rows)
        yield Responses(
            responses.sequences[chosen],
            responses.attention_mask[chosen],
            responses.response_mask[chosen],
        )
