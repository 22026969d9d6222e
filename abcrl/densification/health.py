"""Credit health: is the credit spread at all, and does it sit on one end of the response?

Numbers to log beside every run with a dense reward, next to the share of rows that fell back.
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .refusals import refusal, require_floats, require_mask
from .tokens import first_response_token, last_response_token


@torch.no_grad()
def effective_tokens(weights: Float[Tensor, "B R"]) -> Float32[Tensor, " B"]:
    """Return the number of tokens that each row's credit is effectively spread over.

    N_eff = 1 / sum over j of w[j]^2

    the inverse Simpson index (E. H. Simpson, "Measurement of diversity", Nature 163, 1949), which
    is Hill's diversity number of order 2 (M. O. Hill, "Diversity and evenness", Ecology 54, 1973);
    physicists call it the participation ratio.

    Args:
        weights: credit, `Credit.weights`; each row sums to 1.

    Returns:
        From 1 (all credit on one token) to r (uniform over r tokens), in tokens.

    Raises:
        ValueError: weights are not a floating point tensor `[B, R]`.
    """
    if not (isinstance(weights, Tensor) and weights.is_floating_point() and weights.ndim == 2):
        shape = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise refusal("weights", "be floating point [B, R]", shape, "pass Credit.weights")
    return 1 / weights.float().square().sum(-1)


@torch.no_grad()
def first_token_share(
    weights: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float32[Tensor, " B"]:
    """Return the credit of each row's first response token, 0 to 1.

    High values point to an attention sink: heads that park their attention on an early token
    (Xiao et al., "Efficient streaming language models with attention sinks", arXiv 2309.17453).

    Raises:
        ValueError: wrong type, shape, dtype or device.
    """
    _require_structure(weights, response_mask)
    return _mass_on(first_response_token(response_mask), weights)


@torch.no_grad()
def last_token_share(
    weights: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float32[Tensor, " B"]:
    """Return the credit of each row's last response token, 0 to 1.

    At 1 the dense reward has become the sparse one.

    Raises:
        ValueError: wrong type, shape, dtype or device.
    """
    _require_structure(weights, response_mask)
    return _mass_on(last_response_token(response_mask), weights)


def _require_structure(weights: Tensor, response_mask: Tensor) -> None:
    """Refuse what can be seen without looking at values."""
    require_mask(response_mask)
    require_floats("weights", weights, "B R", response_mask)


def _mass_on(tokens: Bool[Tensor, "B R"], weights: Float[Tensor, "B R"]) -> Float32[Tensor, " B"]:
    """Return each row's sum of weights over the given tokens."""
    return weights.float().masked_fill(~tokens, 0).sum(-1)
