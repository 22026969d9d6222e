"""Token scores of any mode in one call: what a trainer uses."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from abcrl.config import RewardMode

from .credit import Alignment, Credit, assign_credit, normalise, require_alignment
from .evidence import Evidence
from .modes import ModeSpec, find_mode
from .spread import blend, densify


class TokenScores(NamedTuple):
    """Scores spread over the tokens of their responses."""

    credit: Credit
    """Each token's share in the spread. Of a signed mode: the share of |spread|."""
    token_scores: Float32[Tensor, "B R"]
    """The score after densification, 0 off the response; each row sums to its score."""


@torch.no_grad()
def assign_token_scores(
    mode: RewardMode | str,
    evidence: Evidence,
    scores: Float[Tensor, " B"],
    beta: float,
    *,
    alignment: Alignment = "attended",
) -> TokenScores:
    """Return each score spread over its response by a mode, and the credit to report with it.

    token_scores = beta * spread + (1 - beta) * score on the last response token

    with spread = score * weights, or what a signed mode says.

    Args:
        mode: a `RewardMode` or its name.
        evidence: the mask, and at least the fields that `needs(mode)` names.
        scores: one number per response, in reward units, any sign.
        beta: share of the score that is spread, 0 to 1. `rlhf` is the same at every beta.
        alignment: as in `assign_credit`; signed modes are the same under both.

    Returns:
        Credit and token scores on the device of the mask, in float32, outside of autograd. Each
        row of `token_scores` sums to its score within 1e-5 * max(1, |score|), in `red`
        1e-5 * max(1, |score|, |prefix score|).

    Raises:
        ValueError: as `assign_credit`, `densify` and `blend`.
    """
    spec = find_mode(mode)
    if isinstance(spec, ModeSpec):
        credit = assign_credit(mode, evidence, alignment=alignment)
        return TokenScores(credit, densify(scores, credit.weights, evidence.response_mask, beta))
    require_alignment(alignment)
    spread = spec.spread(evidence, scores)
    credit = normalise(spread.abs(), evidence.response_mask)
    return TokenScores(credit, blend(spread, scores, evidence.response_mask, beta))
