"""Credit health: is the credit spread at all, and where does it sit?

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
    _require_weights(weights)
    return 1 / weights.float().square().sum(-1)


@torch.no_grad()
def credit_entropy(weights: Float[Tensor, "B R"]) -> Float32[Tensor, " B"]:
    """Return the entropy of each row's credit.

    H = - sum over j of w[j] * log w[j], with 0 * log 0 = 0

    (C. E. Shannon, "A mathematical theory of communication", 1948). exp(H) is Hill's number of
    order 1; it counts faint tokens for more than `effective_tokens` does and is never below it.

    Args:
        weights: credit, `Credit.weights`; each row sums to 1.

    Returns:
        From 0 (all credit on one token) to log r (uniform over r tokens), in nats.

    Raises:
        ValueError: weights are not a floating point tensor `[B, R]`.
    """
    _require_weights(weights)
    # A weight of 1 may have been rounded up: its -w * log w is then below 0.
    parts: Tensor = torch.special.entr(weights.float())
    return parts.sum(-1).clamp(min=0)


@torch.no_grad()
def share_on(weights: Float[Tensor, "B R"], tokens: Bool[Tensor, "B R"]) -> Float32[Tensor, " B"]:
    """Return the credit that lies on a set of tokens, 0 to 1: punctuation, say, or causal words.

    To be held against the set's share of the response's tokens, which uniform credit would give.

    Args:
        weights: credit, `Credit.weights`.
        tokens: True = this token is in the set. A row without one has share 0.

    Raises:
        ValueError: wrong type, shape, dtype or device.
    """
    require_mask(tokens, "tokens")
    require_floats("weights", weights, "B R", tokens)
    return _mass_on(tokens, weights)


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


def _require_weights(weights: Tensor) -> None:
    """Refuse what can be seen without a mask to hold it against."""
    if not (isinstance(weights, Tensor) and weights.is_floating_point() and weights.ndim == 2):
        shape = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise refusal("weights", "be floating point [B, R]", shape, "pass Credit.weights")


def _require_structure(weights: Tensor, response_mask: Tensor) -> None:
    """Refuse what can be seen without looking at values."""
    require_mask(response_mask)
    require_floats("weights", weights, "B R", response_mask)


def _mass_on(tokens: Bool[Tensor, "B R"], weights: Float[Tensor, "B R"]) -> Float32[Tensor, " B"]:
    """Return each row's sum of weights over the given tokens."""
    return weights.float().masked_fill(~tokens, 0).sum(-1)
