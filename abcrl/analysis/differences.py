"""Differences of two arms over paired seeds, described: without a test, hence no verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Self

from abcrl.config.verdicts import MIN_PAIRS_FOR_INTERVAL

from .statistics import Interval, pair_by_seed, student_interval


@dataclass(frozen=True)
class PairedDifference:
    """The difference `arm - baseline` over the seeds that both have."""

    arm: str
    baseline: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """One for each seed, in the quantity's own units."""
    mean: float | None
    """None without a pair."""
    median: float | None
    interval: Interval | None
    """95 % Student t interval of the mean; None below 5 pairs."""

    @classmethod
    def of(cls, arm: str, baseline: str, values: Mapping[str, Mapping[int, float]]) -> Self:
        """Returns the difference of two arms.

        Args:
            arm: Name of the arm that is held against the other.
            baseline: Name of the other.
            values: For each arm, one number by seed; an arm without any may be absent.
        """
        seeds, differences = pair_by_seed(values.get(arm, {}), values.get(baseline, {}))
        enough = len(differences) >= MIN_PAIRS_FOR_INTERVAL
        return cls(
            arm=arm,
            baseline=baseline,
            seeds=seeds,
            differences=differences,
            mean=fmean(differences) if differences else None,
            median=median(differences) if differences else None,
            interval=student_interval(differences) if enough else None,
        )
