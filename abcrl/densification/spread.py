"""Spread: scores in, token scores out; every response keeps the score that it was given.

With the weights w of a response of r tokens (Chan et al., arXiv 2402.00782):

    token_scores[j] = beta * score * w[j] + (1 - beta) * score * [j == r - 1]
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .refusals import (
    SUM_TOLERANCE,
    Rule,
    enforce,
    has_response,
    is_finite,
    require_beta,
    require_floats,
    require_mask,
)
from .tokens import last_response_token


@torch.no_grad()
def densify(
    scores: Float[Tensor, " B"],
    weights: Float[Tensor, "B R"],
    response_mask: Bool[Tensor, "B R"],
    beta: float,
) -> Float32[Tensor, "B R"]:
    """Return each score shared among the tokens of its response: blend(scores * weights, ...).

    Args:
        scores: one number per response, in reward units, any sign.
        weights: credit, `Credit.weights`: >= 0, 0 off the response, each row sums to 1.
        response_mask: True = this response token counts.
        beta: share of the score that is spread, 0 to 1; the rest stays on the last response token.

    Returns:
        token_scores in float32, outside of autograd, 0 off the response. Each row sums to its
        score within 1e-5 * max(1, |score|). beta = 0 gives the sparse vector of rlhf exactly.

    Raises:
        ValueError: wrong type, shape, dtype or device; a row without a response token; a score or
            weight that is not finite in float32; weights that are negative, not 0 off the response
            or do not sum to 1 (within 1e-5); beta outside [0, 1].
    """
    _require_structure(scores, weights, response_mask, beta, spread_name="weights")
    scores, weights = scores.to(torch.float32), weights.to(torch.float32)
    enforce(
        has_response(response_mask),
        is_finite("scores", scores),
        *_are_weights(weights, response_mask),
    )
    return _blend(scores[:, None] * weights, scores, response_mask, beta)


@torch.no_grad()
def blend(
    spread: Float[Tensor, "B R"],
    scores: Float[Tensor, " B"],
    response_mask: Bool[Tensor, "B R"],
    beta: float,
) -> Float32[Tensor, "B R"]:
    """Return beta * spread, with (1 - beta) * score added on the last response token.

    For spreads that are not a score times weights: differences of prefix scores, say. They may have
    any sign. Keeping the score is the spread's affair: a row of the result sums to its score where
    the row of `spread` does.

    Args:
        spread: the score in parts, one per response token, in reward units. Entries off the
            response are not read.
        scores: one number per response, in reward units, any sign.
        response_mask: True = this response token counts.
        beta: weight of `spread`, 0 to 1.

    Returns:
        token_scores in float32, outside of autograd, 0 off the response.

    Raises:
        ValueError: wrong type, shape, dtype or device; a row without a response token; on the
            response, a spread or score that is not finite in float32; beta outside [0, 1].
    """
    _require_structure(scores, spread, response_mask, beta, spread_name="spread")
    scores, spread = scores.to(torch.float32), spread.to(torch.float32)
    enforce(
        has_response(response_mask),
        is_finite("scores", scores),
        is_finite("spread", spread, where=response_mask),
    )
    return _blend(spread, scores, response_mask, beta)


def _blend(
    spread: Float32[Tensor, "B R"],
    scores: Float32[Tensor, " B"],
    response_mask: Bool[Tensor, "B R"],
    beta: float,
) -> Float32[Tensor, "B R"]:
    """Return the blend of values that are already checked."""
    # Filled, not multiplied by the mask: 0 * NaN is NaN, and 0 * -1 is a -0.0 that shows in files.
    beta = float(beta)  # numpy's scalars would take the multiplication over
    kept = (1 - beta) * scores[:, None]
    sparse = kept.masked_fill(~last_response_token(response_mask), 0)
    return (beta * spread + sparse).masked_fill(~response_mask, 0)


def _require_structure(
    scores: Tensor, spread: Tensor, response_mask: Tensor, beta: float, *, spread_name: str
) -> None:
    """Refuse what can be seen without looking at values."""
    require_mask(response_mask)
    require_floats("scores", scores, "B", response_mask)
    require_floats(spread_name, spread, "B R", response_mask)
    require_beta(beta)


def _are_weights(
    weights: Float32[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> tuple[Rule, Rule, Rule]:
    """Credit is finite and not negative, 0 off the response, and shares out the whole score."""
    remedy = "pass Credit.weights, in float32"
    sums = weights.sum(-1)
    return (
        Rule("weights", "be 0 off the response", response_mask | (weights == 0), weights, remedy),
        Rule("weights", "be finite and >= 0", weights.isfinite() & (weights >= 0), weights, remedy),
        Rule("weights", "sum to 1 in each row", (sums - 1).abs() <= SUM_TOLERANCE, sums, remedy),
    )
