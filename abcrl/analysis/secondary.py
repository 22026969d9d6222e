"""What a comparison says beside its primary endpoint: with intervals, and never with a verdict.

Scores at equal KL, because a policy that has moved further has had more room; steps to most of the
baseline's gain, because "sooner" is what dense rewards promise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .contrasts import PairedContrast, contrast_arms
from .curves import KL, SCORE, CellCurve, mean_at_start
from .endpoints import GAIN_SHARE, KL_SHARES, Arrival, restricted_arrival, score_at_kl
from .equivalence import Contrast


@dataclass(frozen=True)
class EqualKl:
    """Scores where the training paths first cross the same KL.

    Points of training paths, not of a frontier: for that, the KL coefficient has to vary.
    """

    share: float
    """Of the smallest of the cells' largest KLs."""
    kl: float
    """Exact KL to the SFT model, nats per response."""
    scores: Mapping[str, Mapping[int, float]]
    """By arm and seed."""
    contrasts: tuple[PairedContrast, ...]


@dataclass(frozen=True)
class Arrivals:
    """Steps until the score has risen by most of what the baseline gains in all."""

    baseline: str
    threshold: float
    """SFT model's score + 90 % of the baseline's mean final gain."""
    horizon: int
    """Last step that all cells share; later arrivals count with it."""
    steps: Mapping[str, Mapping[int, Arrival]]
    """By arm and seed."""
    contrasts: tuple[PairedContrast, ...]
    """Of restricted mean steps: below 0, the arm is sooner."""

    def mean(self, arm: str) -> float:
        """Returns the restricted mean time of an arm, steps."""
        return fmean(one.steps for one in self.steps[arm].values())

    def censored(self, arm: str) -> int:
        """Returns how many of its cells did not arrive."""
        return sum(one.censored for one in self.steps[arm].values())


def scores_at_equal_kl(
    curves: Sequence[CellCurve], contrasts: Sequence[Contrast]
) -> tuple[EqualKl, ...]:
    """Returns scores at 25, 50 and 75 % of the smallest largest KL; none if they do not compare.

    Every cell's path reaches each of these. Not comparable are paths of which one never moves, or
    whose KL was not evaluated.

    Args:
        curves: The finished cells.
        contrasts: The declared ones; their margins are those of the primary endpoint and left out.
    """
    reached = [
        max((kl for kl in curve.metrics.get(KL, ()) if math.isfinite(kl)), default=0.0)
        for curve in curves
    ]
    common = min(reached, default=0.0)
    if common <= 0:
        return ()
    return tuple(_at_kl(share, share * common, curves, contrasts) for share in KL_SHARES)


def _at_kl(
    share: float, kl: float, curves: Sequence[CellCurve], contrasts: Sequence[Contrast]
) -> EqualKl:
    scores: dict[str, dict[int, float]] = {}
    for curve in curves:
        score = score_at_kl(curve.metrics[KL], curve.metrics[SCORE], kl)
        assert score is not None  # the level lies below each path's largest
        scores.setdefault(curve.arm, {})[curve.seed] = score
    return EqualKl(share, kl, scores, _contrast(contrasts, scores))


def steps_to_gain(curves: Sequence[CellCurve], contrasts: Sequence[Contrast]) -> Arrivals | None:
    """Returns when each cell arrived; None where there is no baseline, or it gained nothing.

    Args:
        curves: The finished cells, evaluated over the same steps.
        contrasts: The declared ones; the first names the baseline.
    """
    if not curves or not contrasts:
        return None
    baseline = contrasts[0].baseline
    finals = [
        final
        for curve in curves
        if curve.arm == baseline and (final := curve.last(SCORE)) is not None
    ]
    start = mean_at_start(curves, SCORE)
    if start is None or not finals or fmean(finals) <= start:
        return None
    threshold = start + GAIN_SHARE * (fmean(finals) - start)
    horizon = min(curve.steps[-1] for curve in curves)
    steps: dict[str, dict[int, Arrival]] = {}
    for curve in curves:
        arrival = restricted_arrival(curve.steps, curve.metrics[SCORE], threshold, horizon=horizon)
        steps.setdefault(curve.arm, {})[curve.seed] = arrival
    plain = {arm: {seed: one.steps for seed, one in cells.items()} for arm, cells in steps.items()}
    return Arrivals(baseline, threshold, horizon, steps, _contrast(contrasts, plain))


def _contrast(
    contrasts: Sequence[Contrast], values: Mapping[str, Mapping[int, float]]
) -> tuple[PairedContrast, ...]:
    unjudged = [one._replace(margin=None) for one in contrasts]
    return tuple(contrast_arms(unjudged, values))
