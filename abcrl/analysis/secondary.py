"""What a comparison says beside its primary endpoint: with intervals, and never with a verdict.

Scores at equal KL, because a policy that has moved further has had more room; steps to most of the
baseline's gain, because "sooner" is what dense rewards promise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from .curves import KL, SCORE, CellCurve, mean_at_start
from .differences import PairedDifference
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
    contrasts: tuple[PairedDifference, ...]
    """The declared ones, in their order."""


@dataclass(frozen=True)
class EqualKls:
    """Scores at several KLs that every path reaches, or why there are none."""

    levels: tuple[EqualKl, ...] = ()
    smallest: str | None = None
    """The cell whose largest KL is the smallest, which sets the levels: `abc seed 3`."""
    reason: str = ""
    """Why the paths do not compare; empty where they do."""


@dataclass(frozen=True)
class Arrivals:
    """Steps until the score has risen by most of what the baseline gains in all, or why none.

    Of the arms that this baseline is the baseline of, and of itself.
    """

    baseline: str
    threshold: float | None = None
    """SFT model's score + 90 % of the baseline's mean final gain; None where there is none."""
    horizon: int | None = None
    """Last step that all these cells share; later arrivals count with it."""
    steps: Mapping[str, Mapping[int, Arrival]] = field(default_factory=dict)
    """By arm and seed."""
    contrasts: tuple[PairedDifference, ...] = ()
    """Of restricted mean steps: below 0, the arm is sooner."""
    reason: str = ""
    """Why there is no threshold; empty where there is one."""

    def mean(self, arm: str) -> float:
        """Returns the restricted mean time of an arm, steps."""
        return fmean(one.steps for one in self.steps[arm].values())

    def censored(self, arm: str) -> int:
        """Returns how many of its cells did not arrive."""
        return sum(one.censored for one in self.steps[arm].values())


def scores_at_equal_kl(curves: Sequence[CellCurve], contrasts: Sequence[Contrast]) -> EqualKls:
    """Returns scores at 25, 50 and 75 % of the smallest largest KL, or why they do not compare.

    Every cell's path reaches each of these. Not comparable are paths of which one never moves, or
    whose KL was not evaluated.

    Args:
        curves: The finished cells.
        contrasts: The declared ones; their margins are those of the primary endpoint and left out.
    """
    if not curves:
        return EqualKls(reason="no cell has a result")
    reached = {curve.name: _largest_kl(curve) for curve in curves}
    unknown = [name for name, kl in reached.items() if kl is None]
    if unknown:
        return EqualKls(reason=f"the KL of {unknown[0]} was not evaluated")
    largest = {name: kl for name, kl in reached.items() if kl is not None}
    smallest = min(largest, key=largest.__getitem__)
    common = largest[smallest]
    if common <= 0:
        return EqualKls((), smallest, f"{smallest} never moved (largest KL {common:.3g})")
    levels = tuple(_at_kl(share, share * common, curves, contrasts) for share in KL_SHARES)
    return EqualKls(levels, smallest)


def _largest_kl(curve: CellCurve) -> float | None:
    return max((kl for kl in curve.metrics.get(KL, ()) if math.isfinite(kl)), default=None)


def _at_kl(
    share: float, kl: float, curves: Sequence[CellCurve], contrasts: Sequence[Contrast]
) -> EqualKl:
    scores: dict[str, dict[int, float]] = {}
    for curve in curves:
        score = score_at_kl(curve.metrics[KL], curve.metrics[SCORE], kl)
        assert score is not None  # the level lies below each path's largest
        scores.setdefault(curve.arm, {})[curve.seed] = score
    return EqualKl(share, kl, scores, _describe(contrasts, scores))


def steps_to_gain(
    curves: Sequence[CellCurve], contrasts: Sequence[Contrast], baseline: str
) -> Arrivals:
    """Returns when each cell arrived, or why there is no such threshold.

    Args:
        curves: The finished cells of the baseline and of the arms it is held against, evaluated
            over the same steps.
        contrasts: The declared ones of these arms.
        baseline: Name of an arm.
    """
    finals = [
        final
        for curve in curves
        if curve.arm == baseline and (final := curve.last(SCORE)) is not None
    ]
    if not finals:
        return Arrivals(baseline, reason=f"no cell of {baseline} has a result")
    start = mean_at_start(curves, SCORE)
    if start is None:
        return Arrivals(baseline, reason="the SFT model was not evaluated")
    if fmean(finals) <= start:
        return Arrivals(baseline, reason=f"{baseline} gained nothing")
    threshold = start + GAIN_SHARE * (fmean(finals) - start)
    horizon = min(curve.steps[-1] for curve in curves)
    steps: dict[str, dict[int, Arrival]] = {}
    for curve in curves:
        arrival = restricted_arrival(curve.steps, curve.metrics[SCORE], threshold, horizon=horizon)
        steps.setdefault(curve.arm, {})[curve.seed] = arrival
    plain = {arm: {seed: one.steps for seed, one in cells.items()} for arm, cells in steps.items()}
    return Arrivals(baseline, threshold, horizon, steps, _describe(contrasts, plain))


def _describe(
    contrasts: Sequence[Contrast], values: Mapping[str, Mapping[int, float]]
) -> tuple[PairedDifference, ...]:
    return tuple(PairedDifference.of(one.arm, one.baseline, values) for one in contrasts)
