"""How credit spreads over texts: over how many tokens, and over which."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from abcrl.densification import (
    Evidence,
    assign_credit,
    credit_entropy,
    effective_tokens,
    first_token_share,
    last_token_share,
    share_on,
)


@dataclass(frozen=True)
class CreditSpread:
    """How the credit of a reward mode spreads over texts; means over the texts."""

    texts: int
    tokens: float
    """Tokens per text."""
    effective_tokens: float
    entropy: float
    """In nats."""
    first_token_share: float
    last_token_share: float
    punctuation_share: float
    """Share of the credit on tokens that are punctuation only."""
    punctuation_token_share: float
    """Share of the tokens that are: what uniform credit would put there."""
    causal_share: float | None
    """Share of the credit on truly causal tokens; None where the data do not know them."""
    causal_token_share: float | None
    """Share of the tokens that are truly causal: what uniform credit would put there."""


def credit_spread(
    weights: Float[Tensor, "N R"],
    mask: Bool[Tensor, "N R"],
    *,
    punctuation: Bool[Tensor, "N R"],
    causal: Bool[Tensor, "N R"] | None,
) -> CreditSpread:
    """Returns how credit spreads over texts.

    Args:
        weights: Credit, each row sums to 1.
        mask: True = a token of the text.
        punctuation: True = a token that is punctuation only.
        causal: True = a token of a truly causal word; None where that is not known.
    """
    uniform, _ = assign_credit("uniform", Evidence(mask))
    return CreditSpread(
        texts=len(mask),
        tokens=float(mask.sum(-1).float().mean()),
        effective_tokens=float(effective_tokens(weights).mean()),
        entropy=float(credit_entropy(weights).mean()),
        first_token_share=float(first_token_share(weights, mask).mean()),
        last_token_share=float(last_token_share(weights, mask).mean()),
        punctuation_share=float(share_on(weights, punctuation).mean()),
        punctuation_token_share=float(share_on(uniform, punctuation).mean()),
        causal_share=None if causal is None else float(share_on(weights, causal).mean()),
        causal_token_share=None if causal is None else float(share_on(uniform, causal).mean()),
    )
