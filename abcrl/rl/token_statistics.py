"""What policy and reference say about each token of some responses, from one pass each."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abcrl.config import PpoSettings, RunFailedError

from .actors import Actors
from .formulas.kl import exact_kl
from .formulas.logprobs import constrain_logits
from .formulas.losses import token_entropy
from .reference_kl import reference_logits
from .sampling.responses import Responses
from .scoring.evidence import capture_policy
from .scoring.parts import TOKENS_AT_ONCE, join_parts, split_rows

# Full-vocabulary tensors [b, R, V] of a pass without gradient hold about this many numbers at most.
_LOGITS_AT_ONCE = 2**25


class TokenStatistics(NamedTuple):
    """What policy and reference say about each response token; garbage off the response mask."""

    logprobs: Float[Tensor, "B R"]
    ref_logprobs: Float[Tensor, "B R"]
    values: Float[Tensor, "B R"]
    entropy: Float[Tensor, "B R"]
    kl_exact: Float[Tensor, "B R"]
    policy_attention: Float[Tensor, "B R R"] | None


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
    per_row = vocabulary * responses.response_width / responses.sequences.shape[1]
    at_once = min(TOKENS_AT_ONCE, int(_LOGITS_AT_ONCE / per_row))
    parts = split_rows(responses.attention_mask.sum(-1), at_once)
    if len(parts) == 1:
        tokens = _evaluate_rows(actors, responses, settings, with_attention=with_attention)
    else:
        statistics = [
            _evaluate_rows(actors, responses.take(rows), settings, with_attention=with_attention)
            for rows in parts
        ]
        B, R = responses.response_mask.shape
        joined = (
            None
            if pieces[0] is None
            else join_parts(parts, pieces, (B, *(R,) * (pieces[0].ndim - 1)))
            for pieces in zip(*statistics, strict=True)
        )
        tokens = TokenStatistics(*joined)  # type: ignore[arg-type]  # attention alone may be None
    _require_finite(tokens, responses)
    return tokens


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
        in_place=True,
    )
    logps = logits.log_softmax(-1)
    del logits  # a [b, R, V] less while the reference makes its own
    ref_logps = reference_logits(actors, responses, settings.response).log_softmax(-1)
    return TokenStatistics(
        logprobs=_of_tokens(logps, responses.response_ids),
        ref_logprobs=_of_tokens(ref_logps, responses.response_ids),
        values=values,
        entropy=token_entropy(logps),
        kl_exact=exact_kl(logps, ref_logps, responses.response_mask),
        policy_attention=attention,
    )


def _of_tokens(logps: Float[Tensor, "B R V"], tokens: Int[Tensor, "B R"]) -> Float[Tensor, "B R"]:
    return logps.gather(-1, tokens[..., None])[..., 0]


def _require_finite(tokens: TokenStatistics, responses: Responses) -> None:
    finite = [tensor[responses.response_mask].isfinite().all() for tensor in tokens[:3]]
    for name, good in zip(tokens._fields, torch.stack(finite).tolist(), strict=False):
        if not good:
            raise RunFailedError(
                f"{name} are not finite: the weights are ruined; lower ppo.learning_rate or set "
                f"ppo.max_grad_norm"
            )
