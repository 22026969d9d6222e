"""The loss of a reward model that learns from pairs: Bradley and Terry's, pair by pair."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


class PreferenceLoss(NamedTuple):
    """A loss for each pair, and its parts."""

    total: Float[Tensor, " B"]
    """ranking + center_coef * centering."""
    ranking: Float[Tensor, " B"]
    """Negative log-likelihood of the order, nats."""
    centering: Float[Tensor, " B"]
    """Squared sum of both scores, before its weight."""


def bradley_terry_loss(
    chosen_scores: Float[Tensor, " B"],
    rejected_scores: Float[Tensor, " B"],
    margin: Float[Tensor, " B"] | float = 0.0,
    center_coef: float = 0.0,
) -> PreferenceLoss:
    """Returns how unlikely each order of a pair is under the scores.

    ranking = -log sigmoid(chosen - rejected - margin)
    centering = (chosen + rejected)^2

    P(chosen before rejected) = sigmoid(chosen - rejected) is Bradley and Terry's model (1952,
    Biometrika 39); as a loss of reward models Ouyang et al. 2022, arXiv 2203.02155, equation 1; the
    margin Touvron et al. 2023, arXiv 2307.09288, equation 2. A constant added to all scores changes
    nothing of it; the centring of Eisenstein et al. 2023, arXiv 2312.09244, holds the sum near 0.

    Args:
        chosen_scores: [B], of the better responses.
        rejected_scores: [B], of the worse ones.
        margin: At least 0, score units; one for all pairs, or each its own.
        center_coef: At least 0.

    Returns:
        [B] each; gradients of `ranking` stay within -1 and 1, and finite for any finite scores.
    """
    ranking = -logsigmoid(chosen_scores - rejected_scores - margin)
    centering = (chosen_scores + rejected_scores).square()
    return PreferenceLoss(ranking + center_coef * centering, ranking, centering)
