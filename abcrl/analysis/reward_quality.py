"""How good a reward model is, and how its attention would spread credit; no RL needed."""

from dataclasses import asdict, dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from abcrl.densification import (
    Evidence,
    RewardMode,
    assign_credit,
    effective_tokens,
    first_token_share,
    last_token_share,
)


@dataclass(frozen=True)
class CreditSpread:
    """How ABC credit spreads over texts; means over the texts."""

    texts: int
    tokens: float
    """Tokens per text."""
    effective_tokens: float
    first_token_share: float
    last_token_share: float
    causal_share: float | None
    """Share of the credit on truly causal tokens; None where the data do not know them."""
    causal_token_share: float | None
    """Share of the tokens that are truly causal: what uniform credit would put there."""


@dataclass(frozen=True)
class RewardModelQuality:
    """What a reward model says of itself on held-out texts."""

    accuracy: float
    """On complete texts, or on what `cut_to` leaves of them."""
    accuracy_truncated: float
    """On texts cut to the lengths that PPO produces."""
    naive_bayes_accuracy: float
    """Of a bag of words on exactly the texts of `accuracy`."""
    naive_bayes_accuracy_truncated: float
    """Of a bag of words on exactly the texts of `accuracy_truncated`."""
    cut_to: int | None
    """Tokens that complete texts had to be cut to; None where all of them fit."""
    score_mean: float
    score_std: float
    """Of the scores of complete texts."""
    credit: CreditSpread | None

    def metrics(self) -> dict[str, float]:
        """Returns a row of metrics.jsonl; what the data do not know is left out."""
        row = asdict(self)
        credit = row.pop("credit") or {}
        named = {f"eval/{name}": value for name, value in row.items()}
        named |= {f"credit/{name}": value for name, value in credit.items()}
        return {name: value for name, value in named.items() if value is not None}


def accuracy(scores: Float[Tensor, " N"], labels: Bool[Tensor, " N"]) -> float:
    """Returns the share of texts whose score has the sign of their label, 0 to 1."""
    return float(((scores > 0) == labels).float().mean())


def credit_spread(
    attention: Float[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    causal: Bool[Tensor, "N T"] | None,
) -> CreditSpread:
    """Returns how ABC credit spreads over texts.

    Args:
        attention: The scored position's attention row per text.
        mask: True = a token of the text.
        causal: True = a token of a truly causal word; None where that is not known.
    """
    evidence = Evidence(response_mask=mask, reward_attention=attention)
    weights, _ = assign_credit(RewardMode.ABC, evidence)
    lengths = mask.sum(-1)
    on_causal = causal_share = None
    if causal is not None:
        on_causal = float((weights * causal).sum(-1).mean())
        causal_share = float(((causal & mask).sum(-1) / lengths).mean())
    return CreditSpread(
        texts=len(mask),
        tokens=float(lengths.float().mean()),
        effective_tokens=float(effective_tokens(weights).mean()),
        first_token_share=float(first_token_share(weights, mask).mean()),
        last_token_share=float(last_token_share(weights, mask).mean()),
        causal_share=on_causal,
        causal_token_share=causal_share,
    )
