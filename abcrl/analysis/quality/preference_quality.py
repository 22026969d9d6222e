"""How good a reward model is at held-out pairs, beside the one rule that needs no model: length."""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor
from torch.nn.functional import softplus

from abcrl.analysis.statistics import Interval
from abcrl.analysis.verdicts import say_p
from abcrl.config.verdicts import ALPHA

from .credit_spread import CreditSpread
from .reward_quality import binned_gap, length_correlation


class SidesOfPairs(NamedTuple):
    """What is known of the two responses of each pair."""

    chosen_scores: Float[Tensor, " N"]
    rejected_scores: Float[Tensor, " N"]
    chosen_lengths: Int[Tensor, " N"]
    """Tokens of the response, without its prompt."""
    rejected_lengths: Int[Tensor, " N"]
    chosen_scores_without_eos: Float[Tensor, " N"]
    """Of the chosen responses less their EOS: what PPO shows of a response cut at its cap."""
    truncated_scores: tuple[Float[Tensor, " N"], Float[Tensor, " N"]] | None = None
    """Of chosen and rejected, cut to lengths that PPO produces; None: no such lengths are known."""


@dataclass(frozen=True)
class PreferenceQuality:
    """What a reward model says of itself on held-out pairs."""

    pairs: int
    accuracy: float
    """Share of the pairs whose chosen side has the higher score; a tie counts half."""
    accuracy_low: float
    """Lower end of Wilson's 95 % interval."""
    accuracy_high: float
    margin_mean: float
    """Of score(chosen) - score(rejected)."""
    margin_std: float
    nll: float
    """-log sigmoid of the margin, nats per pair; `log 2` = 0.69 for saying 1/2 always."""
    calibration_error: float
    """Of the confidence in the predicted order, 0 to 1."""
    length_pearson: float | None
    """Correlation of score and length over both sides of all pairs; None where either is the same
    for all."""
    length_spearman: float | None
    length_prefers_longer: bool
    """Whether the length-only rule takes the longer response, which was right more often among the
    pairs to train on, or the shorter one."""
    length_accuracy: float
    """Of that rule; pairs of equal length count half."""
    length_p: float
    """McNemar's exact test of the accuracy against that rule's."""
    score_chosen_mean: float
    score_rejected_mean: float
    score_std: float
    """Over both sides of all pairs."""
    score_chosen_without_eos_mean: float
    """Of the responses of `score_chosen_mean` less their EOS."""
    accuracy_truncated: float | None = None
    """On the same pairs, cut as some of those to train on were; None: none of these was cut."""
    score_offset: float | None = None
    """What the model takes off its output; None: nothing."""
    credit: CreditSpread | None = None
    """Of ABC over chosen responses."""

    def metrics(self) -> dict[str, float]:
        """Returns a row of metrics.jsonl; what is not known is left out."""
        row = asdict(self)
        credit = row.pop("credit") or {}
        named = {f"eval/{name}": value for name, value in row.items()}
        named |= {f"credit/{name}": value for name, value in credit.items()}
        return {name: value for name, value in named.items() if value is not None}


def measure_preferences(sides: SidesOfPairs, *, prefers_longer: bool) -> PreferenceQuality:
    """Returns the quality of a reward model on pairs that it was not trained on, without credit.

    Args:
        sides: Scores and lengths, N >= 1 pairs.
        prefers_longer: The length-only rule, see `longer_is_better`.
    """
    chosen, rejected = sides.chosen_scores.double(), sides.rejected_scores.double()
    margins = chosen - rejected
    right = rightness(margins)
    by_length = rightness(sides.chosen_lengths - sides.rejected_lengths)
    if not prefers_longer:
        by_length = 1 - by_length
    share = float(right.mean())
    interval = wilson_interval(share, len(right))
    scores = torch.cat([chosen, rejected])
    correlation = length_correlation(
        scores, torch.cat([sides.chosen_lengths, sides.rejected_lengths])
    )
    truncated = None
    if sides.truncated_scores is not None:
        better, worse = sides.truncated_scores
        truncated = float(rightness(better.double() - worse.double()).mean())
    return PreferenceQuality(
        pairs=len(right),
        accuracy=share,
        accuracy_low=interval.low,
        accuracy_high=interval.high,
        margin_mean=float(margins.mean()),
        margin_std=float(margins.std()) if len(margins) > 1 else 0.0,
        nll=float(softplus(-margins).mean()),
        calibration_error=order_calibration_error(margins),
        length_pearson=correlation.pearson,
        length_spearman=correlation.spearman,
        length_prefers_longer=prefers_longer,
        length_accuracy=float(by_length.mean()),
        length_p=mcnemar_p(right, by_length),
        score_chosen_mean=float(chosen.mean()),
        score_rejected_mean=float(rejected.mean()),
        score_std=float(scores.std()),
        score_chosen_without_eos_mean=float(sides.chosen_scores_without_eos.double().mean()),
        accuracy_truncated=truncated,
    )


def rightness(margins: Tensor) -> Float[Tensor, " N"]:
    """Returns 1 where chosen leads, 1/2 at a tie and 0 where rejected does."""
    return (margins.sign().double() + 1) / 2


def longer_is_better(
    chosen_lengths: Int[Tensor, " N"], rejected_lengths: Int[Tensor, " N"]
) -> bool:
    """Returns whether preferring the longer response is right at least as often as the shorter.

    To be asked of the pairs to train on: a rule that is chosen on held-out pairs has seen them.
    """
    return bool((chosen_lengths - rejected_lengths).sign().sum() >= 0)


def wilson_interval(share: float, trials: int) -> Interval:
    """Returns the 95 % confidence interval of a share.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22. It stays within [0, 1] and says something for shares
    of 0 and 1 too. Halves for ties make it a little wider than it needs to be.

    Args:
        share: p, 0 to 1.
        trials: n, at least 1.
    """
    z = float(stats.norm.ppf(1 - ALPHA / 2))
    center = share + z**2 / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    low, high = (center - reach) / scale, (center + reach) / scale
    # Rounding may put an end that is 0, 1 or the share itself on the wrong side of it.
    return Interval(max(0.0, min(share, low)), min(1.0, max(share, high)))


def mcnemar_p(first: Float[Tensor, " N"], second: Float[Tensor, " N"]) -> float:
    """Returns the two-sided exact p that two rules are equally often right on the same pairs.

    Of the pairs on which one rule does better than the other, either may be the better one with a
    chance of 1/2: p = min(1, 2 P(X <= min(b, c))), X binomial(b + c, 1/2), with b pairs for the
    first and c for the second; McNemar (1947), Psychometrika 12. A tie, half right, is better than
    wrong and worse than right, which makes it the sign test.

    Args:
        first: `rightness` of one rule.
        second: Of the other.
    """
    for_first, for_second = int((first > second).sum()), int((first < second).sum())
    if not for_first + for_second:
        return 1.0
    return float(stats.binomtest(for_first, for_first + for_second).pvalue)


def order_calibration_error(margins: Float[Tensor, " N"]) -> float:
    """Returns the expected calibration error of the confidence in the predicted order, 0 to 1.

    The confidence is max(sigmoid(m), sigmoid(-m)), never below 1/2, and the order is right where
    m > 0; a tie is half right. Binned as Guo et al. 2017 (arXiv 1706.04599) bin the probability of
    the predicted label: see `binned_gap`.
    """
    return binned_gap(margins.double().abs().sigmoid(), rightness(margins))


def say_preferences(quality: PreferenceQuality) -> str:
    """Returns what can be concluded from the accuracy, in words."""
    rule = f"preferring the {'longer' if quality.length_prefers_longer else 'shorter'} one"
    p = say_p(quality.length_p)
    if quality.length_p > ALPHA:
        against = f"not distinguishable from {rule} ({p})"
    else:
        more = quality.accuracy > quality.length_accuracy
        against = f"{'more' if more else 'less'} often right than {rule} ({p})"
    if quality.accuracy_low <= 0.5 <= quality.accuracy_high:
        return f"not distinguishable from guessing; {against}"
    return against


def say_ending(quality: PreferenceQuality) -> str | None:
    """Returns what it means for PPO that an EOS moves the score, in words.

    None where it moves the mean by no more than half the standard deviation of the scores.
    """
    gain = quality.score_chosen_without_eos_mean - quality.score_chosen_mean
    if abs(gain) <= quality.score_std / 2:
        return None
    known = quality.accuracy_truncated is not None
    advice = "raise truncation.share" if known else "set truncation to the lengths of its responses"
    if gain > 0:
        return f"responses that are cut score higher; PPO may learn not to end: {advice}"
    return f"responses that are cut score lower; PPO may learn to end early: {advice}"
