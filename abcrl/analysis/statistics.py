"""The statistics of a comparison, as pure functions on numbers, each with its source.

The unit is the pair: two arms with the same seed share prompts, models and random numbers, so what
is analysed is their difference, one number for each seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from abcrl.config.verdicts import ALPHA, min_pairs_for_verdict

POWER = 0.8
"""Chance of being found that the detectable effect has."""
MIN_PAIRS_FOR_BOOTSTRAP = 20
"""With fewer pairs a bootstrap interval is too short."""
MAX_EXACT_PAIRS = 14
"""Up to here all 2^n sign flips are counted, above RANDOM_FLIPS of them are drawn."""
RANDOM_FLIPS = 100_000
_FLIP_SEED = 20_240_202
_FLIPS_AT_ONCE = 10_000
_RESAMPLES = 10_000
_SAMPLES = 20_000
_TIE_TOLERANCE = 1e-10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """The number after the plus-minus sign, of an interval that is symmetric."""
        return (self.high - self.low) / 2


def pair_by_seed(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Returns the seeds that both sides have, in order, and `values - baseline` for each."""
    seeds = tuple(sorted(values.keys() & baseline.keys()))
    return seeds, tuple(values[seed] - baseline[seed] for seed in seeds)


def student_interval(differences: Sequence[float], *, confidence: float = 1 - ALPHA) -> Interval:
    """Returns Student's t interval of the mean of paired differences.

    mean +- t_{(1 + confidence) / 2, n - 1} s_d / sqrt(n); Student (1908), "The probable error of a
    mean", Biometrika 6.

    Raises:
        ValueError: Fewer than two differences, or one that is not finite.
    """
    d = require_finite("differences", differences, at_least=2)
    reach = stats.t.ppf((1 + confidence) / 2, d.size - 1) * _standard_error(d)
    return Interval(float(d.mean() - reach), float(d.mean() + reach))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Returns the two-sided p of the sign-flip test on the mean of paired differences.

    If the two arms of every pair are exchangeable, each difference might as well have had the
    other sign. p is the share of the 2^n sign assignments whose mean is at least as far from 0 as
    the observed one; it cannot be below 2^(1-n). Fisher (1935), "The Design of Experiments",
    section 21; Good (2005), "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3.2.

    Above 14 pairs 1e5 random assignments are drawn, always the same ones, and
    p = (b + 1) / (B + 1); Phipson and Smyth (2010), "Permutation p-values should never be zero".

    Raises:
        ValueError: No difference, or one that is not finite.
    """
    d = require_finite("differences", differences, at_least=1)
    scale = np.sum(np.abs(d))
    # Equal sums reach the machine in different orders of rounding: a tie within the tolerance is
    # a tie, which can only make p larger.
    bar = abs(d.sum()) - _TIE_TOLERANCE * scale
    if d.size <= MAX_EXACT_PAIRS:
        # The mirror image of an assignment is as extreme as itself: fix the last sign.
        codes = np.arange(2 ** (d.size - 1))[:, None]
        signs = 1.0 - 2.0 * ((codes >> np.arange(d.size)) & 1)
        return float(np.mean(np.abs(signs @ d) >= bar))
    generator = np.random.default_rng(_FLIP_SEED)
    extreme = 0
    for _ in range(RANDOM_FLIPS // _FLIPS_AT_ONCE):
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(_FLIPS_AT_ONCE, d.size))
        extreme += int(np.sum(np.abs(signs @ d) >= bar))
    return (extreme + 1) / (RANDOM_FLIPS + 1)


def equivalence_p(differences: Sequence[float], margins: float | Sequence[float]) -> float:
    """Returns the p of the claim that the mean of paired differences lies within the margin.

    Two one-sided t tests, of mean(margin - d) > 0 and of mean(margin + d) > 0; p is the larger of
    the two, and the claim at level alpha is the claim that the 1 - 2 alpha interval lies inside.
    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach",
    J. Pharmacokinetics and Biopharmaceutics 15.

    A margin that is a share of another contrast is itself estimated: given pair by pair, as
    `share * e_i`, its error counts too, because both tests are then of means of pairs (a linearised
    ratio: Hauck and Anderson (1999), "Some issues in the design and analysis of equivalence
    trials", Drug Information Journal 33).

    Args:
        differences: `d_i`, in score units.
        margins: In the same units: one number above 0, or one for each pair, of either sign.

    Raises:
        ValueError: Fewer than two differences, numbers that are not finite, a margin that is not
            above 0, or not one margin for each difference.
    """
    d = require_finite("differences", differences, at_least=2)
    if isinstance(margins, int | float):
        if not (margins > 0 and math.isfinite(margins)):
            raise ValueError(f"margins must be above 0 and finite, received {margins}")
        m = np.full_like(d, margins)
    else:
        m = require_finite("margins", margins, at_least=2)
    if m.size != d.size:
        raise ValueError(f"margins must be one for each of {d.size} pairs, received {m.size}")
    return max(_one_sided_p(m - d), _one_sided_p(m + d))


def bootstrap_interval(differences: Sequence[float], *, confidence: float = 1 - ALPHA) -> Interval:
    """Returns the bias-corrected and accelerated bootstrap interval of the mean difference.

    Efron (1987), "Better bootstrap confidence intervals", JASA 82; scipy's implementation, 10,000
    resamples, always the same ones. Too short below about 20 pairs, where it is refused: its
    coverage at n = 5 is about .82.

    Raises:
        ValueError: Fewer than 20 differences, or one that is not finite.
    """
    d = require_finite("differences", differences, at_least=MIN_PAIRS_FOR_BOOTSTRAP)
    if np.ptp(d) == 0:
        return Interval(float(d[0]), float(d[0]))
    found = stats.bootstrap(
        (d,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(_FLIP_SEED),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p values adjusted for the whole family, in the order given.

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6. Valid under any dependence between the contrasts.

    Raises:
        ValueError: A p value outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values must lie in [0, 1], received {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def can_reach_verdict(pairs: int, contrasts: int) -> bool:
    """Returns whether the smallest p that `pairs` allow survives Holm: m 2^(1-n) <= 0.05."""
    return pairs >= min_pairs_for_verdict(contrasts)


def detectable_effect(differences: Sequence[float], *, contrasts: int = 1) -> float | None:
    """Returns the smallest mean difference that these pairs find with a chance of 80 %.

    (t_{1 - alpha / 2m, n - 1} + t_{0.8, n - 1}) s_d / sqrt(n), with Bonferroni's alpha / m as the
    cautious stand-in for Holm; Bloom (1995), "Minimum detectable effects", Evaluation Review 19.
    Where the exact sign-flip test takes more than Student's, which that is about, what it takes:
    up to a third more where the smallest p of all is asked for. Both are for normal differences.
    The spread is that of the pairs at hand, so it is an estimate itself.

    Returns:
        In score units; None where so few pairs cannot reach a verdict on so many contrasts.

    Raises:
        ValueError: Fewer than two differences, or one that is not finite.
    """
    d = require_finite("differences", differences, at_least=2)
    if not can_reach_verdict(d.size, contrasts):
        return None
    quantiles = stats.t.ppf([1 - ALPHA / (2 * contrasts), POWER], d.size - 1)
    reach = float(quantiles.sum()) / math.sqrt(d.size)
    if d.size <= MAX_EXACT_PAIRS:
        reach = max(reach, _sign_flip_reach(d.size, contrasts))
    return reach * float(d.std(ddof=1))


def standard_error(values: Sequence[float]) -> float | None:
    """Returns the standard error of the mean, s / sqrt(n); None below two values."""
    if len(values) < 2:
        return None
    return _standard_error(require_finite("values", values))


@cache
def _sign_flip_reach(pairs: int, contrasts: int) -> float:
    """Returns the mean, in standard deviations, at which p <= alpha / m in 80 % of normal samples.

    Turning the signs in a set S of pairs leaves a mean at least as far above 0 if and only if the
    mean of d over S is at most 0. p <= alpha / m asks for at most k = floor(2^(n-1) alpha / m) such
    sets, one of them empty: for a k-th smallest mean over non-empty S that is above 0. With
    d = mu + z that is mu > -(k-th smallest mean of z), distributed as the k-th largest. The means
    over subsets are Hartigan's (1969), "Using subsample values as typical values", JASA 64. Of the
    largest, max z, the quantile is exact: Phi(mu)^n = 0.8; else it is drawn, always the same.
    """
    k = math.floor(2 ** (pairs - 1) * ALPHA / contrasts)
    if k == 1:
        return float(stats.norm.ppf(POWER ** (1 / pairs)))
    codes = np.arange(1, 2**pairs)[:, None]
    members = ((codes >> np.arange(pairs)) & 1).astype(np.float64)
    members /= members.sum(axis=1, keepdims=True)
    generator = np.random.default_rng(_FLIP_SEED)
    found = [
        np.partition(members @ generator.normal(size=pairs), -k)[-k]
        for _ in range(min(_SAMPLES, 2**26 >> pairs))
    ]
    return float(np.quantile(found, POWER))


def _one_sided_p(values: Floats) -> float:
    """Returns Student's p against the mean being 0 or less."""
    error = _standard_error(values)
    if error <= _TIE_TOLERANCE * float(np.abs(values).max()):  # all alike: no t, and no doubt
        return 0.0 if values.mean() > 0 else 1.0
    return float(stats.t.sf(values.mean() / error, values.size - 1))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size))


def require_finite(name: str, values: Sequence[float], *, at_least: int = 1) -> Floats:
    """Returns the values as an array, or refuses them by name.

    Raises:
        ValueError: Fewer than `at_least`, or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < at_least or not np.all(np.isfinite(array)):
        raise ValueError(
            f"{name} must be at least {at_least} finite numbers, received {list(values)}"
        )
    return array
