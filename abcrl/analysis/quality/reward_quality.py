"""How good a reward model is, and how its attention would spread credit; no RL needed."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor
from torch.nn.functional import softplus

from abcrl.analysis.statistics import Floats

from .credit_spread import CreditSpread

CALIBRATION_BINS = 15


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
    calibration_error: float
    """Of P(positive) = sigmoid(score + score_offset), on the texts of `accuracy`; 0 to 1."""
    calibration_error_truncated: float
    nll: float
    """Of the labels under that P, in nats per text; `log 2` = 0.69 for saying 1/2 always."""
    nll_truncated: float
    cut_to: int | None
    """Tokens that complete texts had to be cut to; None where all of them fit."""
    score_mean: float
    score_std: float
    """Of the scores of complete texts."""
    length_pearson: float | None
    """Correlation of score and length over the texts of `accuracy`; None where either is the same
    for all."""
    length_spearman: float | None
    score_offset: float | None = None
    """What the model takes off the difference of its logits; None: nothing."""
    credit: CreditSpread | None = None

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


def nll(scores: Float[Tensor, " N"], labels: Bool[Tensor, " N"]) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats, with P = sigmoid(score).

    mean over i of log(1 + exp(-y[i] score[i])), y = +1 for positive, -1 for negative

    A proper score: lowest for the true probabilities, so it falls with accuracy and calibration.
    """
    logits = scores.double()
    return float(softplus(torch.where(labels, -logits, logits)).mean())


def calibration_error(scores: Float[Tensor, " N"], labels: Bool[Tensor, " N"]) -> float:
    """Returns the expected calibration error of P(positive) = sigmoid(score), 0 to 1.

    ECE = sum over bins b of n[b] / n * |share of positive labels in b - mean P in b|

    over 15 bins of equal width, [0, 1/15), ..., [14/15, 1]; Guo, Pleiss, Sun and Weinberger, "On
    calibration of modern neural networks", ICML 2017, arXiv 1706.04599, section 2. Deviation: they
    bin the probability of the predicted label, which for two labels is never below 1/2; P(positive)
    tells too much confidence in positive from too much in negative.

    Chance alone puts a perfectly calibrated model above 0, the further the fewer texts there are.
    """
    return binned_gap(scores.double().sigmoid(), labels.double())


def binned_gap(probabilities: Float[Tensor, " N"], outcomes: Float[Tensor, " N"]) -> float:
    """Returns sum over bins b of n[b] / n * |mean outcome in b - mean probability in b|.

    15 bins of equal width, [0, 1/15), ..., [14/15, 1].

    Args:
        probabilities: 0 to 1.
        outcomes: 0 to 1, what came of each.
    """
    # A probability of 1 belongs to the last bin.
    bins = (probabilities * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=probabilities.device)
    gaps.index_add_(0, bins, outcomes - probabilities)
    return float(gaps.abs().sum() / len(probabilities))


class Correlation(NamedTuple):
    """Of two quantities, -1 to 1; None where one of them is the same everywhere."""

    pearson: float | None
    """Of the numbers."""
    spearman: float | None
    """Of their ranks, mean ranks for ties."""


def length_correlation(scores: Float[Tensor, " N"], lengths: Int[Tensor, " N"]) -> Correlation:
    """Returns how far a score follows the length of what is scored.

    Args:
        scores: Of texts or responses.
        lengths: Their tokens.
    """
    first, second = scores.double().numpy(), lengths.double().numpy()
    ranks = stats.rankdata(first), stats.rankdata(second)
    return Correlation(_pearson(first, second), _pearson(*ranks))


def _pearson(first: Floats, second: Floats) -> float | None:
    if not np.ptp(first) or not np.ptp(second):
        return None
    x, y = first - first.mean(), second - second.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))
