"""Declared contrasts of arms: what the paired seeds say about each.

A cell without a result is neither dropped in silence nor made up: a verdict stands only where it
would stand whatever that cell had said, within what the other cells say. Runs fail for reasons, and
those that are left are no random choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from abcrl.config.verdicts import ALPHA, MIN_PAIRS_FOR_INTERVAL

from .differences import PairedDifference
from .equivalence import (
    Contrast,
    Endpoint,
    Equivalence,
    Margin,
    MarginTest,
    examine_margins,
)
from .statistics import (
    MIN_PAIRS_FOR_BOOTSTRAP,
    Interval,
    adjust_holm,
    bootstrap_interval,
    can_reach_verdict,
    detectable_effect,
    pair_by_seed,
    sign_flip_p,
)
from .wording import say_too_few


class Finding(StrEnum):
    """What may be said about a difference."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDETECTED = "no detectable difference"
    TOO_FEW_SEEDS = "too few seeds"
    UNDECIDED = "depends on missing cells"


@dataclass(frozen=True)
class PairedContrast(PairedDifference):
    """A declared contrast: the difference, and what may be said of it."""

    family: int
    """Number of declared contrasts, which Holm's adjustment and the verdict rule count."""
    missing: tuple[int, ...]
    """Seeds at which the arm, the baseline or both have no result."""
    bootstrap: Interval | None
    """95 % BCa interval of the mean; None below 20 pairs."""
    p_value: float | None
    """Two-sided sign-flip p; None below 5 pairs. With missing cells: the largest p that they may
    make it, anywhere between the two ends of `complete`."""
    adjusted_p: float | None
    """p after Holm, over the declared family."""
    detectable: float | None
    """Mean difference that these pairs would have found with a chance of 80 %; None where they are
    too few for a verdict, or cells are missing: what is found then hangs on what they might say."""
    finding: Finding
    """By the adjusted p alone, and only where the number of seeds allows a verdict."""
    margin: Margin | None = None
    """As declared; None where none was."""
    equivalence: Equivalence | None = None
    """None where no margin was declared, or it was not tested."""
    not_tested: str = ""
    """Why, of a margin that was declared and not tested."""


def contrast_arms(
    contrasts: Sequence[Contrast],
    values: Mapping[str, Endpoint],
    seeds: Sequence[int] | None = None,
    *,
    also_declared: int = 0,
) -> list[PairedContrast]:
    """Returns every declared contrast, with p adjusted over all of them.

    A contrast with too few pairs for a p still counts in the family, as if its p were 1: the
    family is what was declared, not what happened to finish.

    Args:
        contrasts: Declared beforehand.
        values: For each arm, the endpoint by seed; seeds that failed are absent.
        seeds: Those that every arm was to run with; None: nothing is missing.
        also_declared: How many others belong to the family with a p of 1: those that were declared
            when somebody looked, and then dropped.
    """
    pairs = [_Pairs.of(one, values, seeds) for one in contrasts]
    dropped = [1.0] * also_declared
    at_worst = [*(one.largest_p for one in pairs), *dropped]
    at_best = [*(one.smallest_p for one in pairs), *dropped]
    adjusted = adjust_holm(at_worst)
    margins = examine_margins(contrasts, values, seeds)
    judged = []
    for number, (contrast, one) in enumerate(zip(contrasts, pairs, strict=True)):
        found = _agreed(one, (at_worst, at_best), number)
        family = len(at_worst)
        margin = _hold_back(margins[number], found, pairs=len(one.known.seeds), family=family)
        judged.append(
            replace(
                _describe(contrast, one, family=family),
                adjusted_p=adjusted[number] if one.p_values else None,
                finding=found,
                equivalence=margin.equivalence,
                not_tested=margin.not_tested,
            )
        )
    return judged


def _hold_back(margin: MarginTest, found: Finding, *, pairs: int, family: int) -> MarginTest:
    """Returns no test of a margin where the seeds are too few for any verdict on the contrast."""
    if margin.equivalence is None or found is not Finding.TOO_FEW_SEEDS:
        return margin
    return MarginTest(None, say_too_few(pairs, family, "contrast"))


def complete(
    arm: Endpoint,
    baseline: Endpoint,
    *,
    seeds: Sequence[int],
    bounds: tuple[float, float],
) -> list[tuple[float, ...]]:
    """Returns the differences as they are or, with missing cells, at their lowest and highest.

    A missing cell is given the worst and the best endpoint that was observed in any cell: in the
    lowest completion the arm's the worst and the baseline's the best, in the highest the reverse.
    Worst-case bounds, as Horowitz and Manski (2000), "Nonparametric analysis of randomized
    experiments with missing covariate and outcome data", JASA 95, with the observed range for
    that of the endpoint.

    Args:
        arm: Its endpoint by seed.
        baseline: Likewise.
        seeds: Those that both were to run with.
        bounds: Worst and best endpoint of all cells.
    """
    if all(seed in arm and seed in baseline for seed in seeds):
        return [pair_by_seed(arm, baseline)[1]]
    low, high = bounds
    return [
        tuple(arm.get(seed, own) - baseline.get(seed, other) for seed in sorted(seeds))
        for own, other in ((low, high), (high, low))
    ]


@dataclass(frozen=True)
class _Pairs:
    """What is known of one contrast before the family is."""

    known: PairedDifference
    missing: tuple[int, ...]
    completions: list[tuple[float, ...]]
    p_values: list[float]
    """One for each completion; empty with too few pairs."""

    @classmethod
    def of(
        cls, contrast: Contrast, values: Mapping[str, Endpoint], wanted: Sequence[int] | None
    ) -> "_Pairs":
        known = PairedDifference.of(contrast.arm, contrast.baseline, values)
        enough = len(known.seeds) >= MIN_PAIRS_FOR_INTERVAL
        completions = [known.differences]
        if enough and wanted is not None:
            completions = complete(
                values[contrast.arm],
                values[contrast.baseline],
                seeds=wanted,
                bounds=_range_of(values),
            )
        return cls(
            known,
            tuple(sorted(set(wanted or ()) - set(known.seeds))),
            completions,
            [sign_flip_p(one) for one in completions] if enough else [],
        )

    @property
    def largest_p(self) -> float:
        """The largest p between the two ends, or 1 with too few pairs.

        P falls as the mean moves away from 0, in whichever pair it moves: of a sign flip S* that
        keeps the pair's sign, whether it reaches the mean does not depend on the pair's difference,
        and of one that turns it, it is the rarer the larger the difference is. So p is largest at
        an end, or where the mean is 0 if that lies between the ends; there it is 1.
        """
        means = [sum(one) for one in self.completions]
        if self.missing and min(means) <= 0 <= max(means):
            return 1.0
        return max(self.p_values, default=1.0)

    @property
    def smallest_p(self) -> float:
        """The smallest p between the two ends, or 1 with too few pairs."""
        return min(self.p_values, default=1.0)


def _range_of(values: Mapping[str, Endpoint]) -> tuple[float, float]:
    observed = [value for endpoint in values.values() for value in endpoint.values()]
    return min(observed), max(observed)


def _describe(contrast: Contrast, pairs: _Pairs, *, family: int) -> PairedContrast:
    """Returns a contrast's own numbers, without what the family says of it."""
    differences = pairs.known.differences
    bootstrap = detectable = None
    if pairs.p_values and not pairs.missing:
        detectable = detectable_effect(differences, contrasts=family)
    if len(differences) >= MIN_PAIRS_FOR_BOOTSTRAP:
        bootstrap = bootstrap_interval(differences)
    return PairedContrast(
        **vars(pairs.known),
        family=family,
        missing=pairs.missing,
        bootstrap=bootstrap,
        p_value=pairs.largest_p if pairs.p_values else None,
        adjusted_p=None,
        detectable=detectable,
        finding=Finding.TOO_FEW_SEEDS,
        margin=contrast.margin,
    )


def _agreed(pairs: _Pairs, families: Sequence[Sequence[float]], number: int) -> Finding:
    """Returns what is found whatever missing cells would have said, if it is always the same.

    Args:
        pairs: The contrast.
        families: The p values of all contrasts, with missing cells the largest; and the smallest,
            as what Holm leaves to a contrast hangs on the others.
        number: The contrast's place among them.
    """
    found = set()
    for family, (p, differences) in product(
        families, zip(pairs.p_values, pairs.completions, strict=False)
    ):
        own = adjust_holm([*family[:number], p, *family[number + 1 :]])[number]
        found.add(_judge(own, differences, family=len(family)))
    if not found:
        return Finding.TOO_FEW_SEEDS
    return found.pop() if len(found) == 1 else Finding.UNDECIDED


def _judge(adjusted_p: float, differences: Sequence[float], *, family: int) -> Finding:
    if not can_reach_verdict(len(differences), family):
        return Finding.TOO_FEW_SEEDS
    if adjusted_p > ALPHA:
        return Finding.UNDETECTED
    return Finding.HIGHER if sum(differences) > 0 else Finding.LOWER
