"""One PPO step as a row of metrics.jsonl: deterministic numbers under fixed names."""

import torch
from torch import Tensor

from abcrl.densification import (
    credit_entropy,
    effective_tokens,
    first_token_share,
    last_token_share,
    share_on,
)

from .actors import Actors
from .formulas.kl import kl_alarm, token_kl
from .formulas.losses import explained_variance
from .formulas.masked import masked_mean, masked_row_sums
from .rollout import Rollout
from .update import UpdateResult


def rollout_metrics(rollout: Rollout, actors: Actors, *, kl_coef: float) -> dict[str, float]:
    """Returns what the batch says: scores, KL (nats per response), credit, lengths.

    `credit/dropped_share`, the attention that fell on prompt or template, is there for modes that
    read the reward model's attention; `score/cut_rate`, the share of texts that were longer than
    the reward model reads, where it does not read the policy's own ids; `score/scale` where scores
    are scaled; `objective/kl_alarm`, 1, where the batch's KL is so negative that it cannot be one
    (`kl_alarm`).
    """
    responses, tokens, credit = rollout.responses, rollout.tokens, rollout.credit
    mask, scores = responses.response_mask, rollout.scored.scores
    punctuation = torch.isin(responses.response_ids, actors.punctuation_ids) & mask
    kl = masked_row_sums(token_kl(tokens.logprobs, tokens.ref_logprobs), mask)
    values: dict[str, Tensor] = {
        "objective/score": scores.mean(),
        "objective/score_std": scores.std(),
        "objective/return": masked_row_sums(rollout.token_rewards, mask).mean(),
        "objective/kl": kl.mean(),
        "objective/kl_k3": masked_row_sums(
            token_kl(tokens.logprobs, tokens.ref_logprobs, "k3"), mask
        ).mean(),
        "objective/kl_exact": masked_row_sums(tokens.kl_exact, mask).mean(),
        "policy/entropy": masked_mean(tokens.entropy, mask),
        "value/explained_variance": explained_variance(tokens.values, rollout.returns, mask),
        "credit/effective_tokens": effective_tokens(credit.weights).mean(),
        "credit/entropy": credit_entropy(credit.weights).mean(),
        "credit/first_token_share": first_token_share(credit.weights, mask).mean(),
        "credit/last_token_share": last_token_share(credit.weights, mask).mean(),
        "credit/punctuation_share": share_on(credit.weights, punctuation).mean(),
        "credit/fallback_rate": credit.fell_back.float().mean(),
        "response/length": responses.lengths.float().mean(),
        "response/eos_rate": responses.ended(actors.eos_token_id).float().mean(),
    }
    if rollout.scored.dropped_share is not None:
        values["credit/dropped_share"] = rollout.scored.dropped_share.mean()
    if rollout.scored.cut is not None:
        values["score/cut_rate"] = rollout.scored.cut.float().mean()
    numbers = torch.stack([value.float() for value in values.values()]).tolist()
    row = {**dict(zip(values, numbers, strict=True)), "objective/kl_coef": kl_coef}
    if rollout.score_scale is not None:
        row["score/scale"] = rollout.score_scale
    if kl_alarm(row["objective/kl"]) is not None:
        row["objective/kl_alarm"] = 1.0
    return row


def update_metrics(result: UpdateResult) -> dict[str, float]:
    """Returns what the update says, as means over the tokens that it trained on."""
    row = {"update/skipped": float(result.skipped)}
    if result.means is not None:
        row |= {
            "policy/loss": result.means.policy_loss,
            "policy/clip_fraction": result.means.clip_fraction,
            "policy/approx_kl": result.means.approx_kl,
            "policy/ratio": result.means.mean_ratio,
            "value/loss": result.means.value_loss,
            "value/clip_fraction": result.means.value_clip_fraction,
        }
        if result.means.kl_loss is not None:
            row["policy/kl_loss"] = result.means.kl_loss
    if result.epochs is not None:
        row["update/epochs"] = float(result.epochs)
    if result.grad_norm is not None:
        row["policy/grad_norm"] = result.grad_norm
    return row
