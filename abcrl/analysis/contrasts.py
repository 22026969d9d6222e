"""Declared contrasts of arms: what the paired seeds say about each, in numbers and in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from .statistics import (
    ALPHA,
    MIN_PAIRS_FOR_INTERVAL,
    Interval,
    adjust_holm,
    can_reach_verdict,
    detectable_effect,
    min_pairs_for_verdict,
    pair_by_seed,
    sign_flip_p,
    student_interval,
)


class Finding(StrEnum):
    """What may be said about a contrast."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDETECTED = "no detectable difference"
    TOO_FEW_SEEDS = "too few seeds"


@dataclass(frozen=True)
class PairedContrast:
    """The difference `arm - baseline` over the seeds that both have."""

    arm: str
    baseline: str
    family: int
    """Number of declared contrasts, which Holm's adjustment and the verdict rule count."""
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """One for each seed, in score units."""
    mean: float | None
    """None without a pair."""
    median: float | None
    interval: Interval | None
    """95 % Student t interval of the mean; None below 5 pairs."""
    p_value: float | None
    """Two-sided sign-flip p; None below 5 pairs."""
    adjusted_p: float | None
    """p after Holm, over the declared family."""
    detectable: float | None
    """Mean difference that these pairs would have found with a chance of 80 %."""

    @property
    def finding(self) -> Finding:
        """The verdict: by the adjusted p alone, and only where the number of seeds allows one."""
        if self.adjusted_p is None or not can_reach_verdict(len(self.seeds), self.family):
            return Finding.TOO_FEW_SEEDS
        if self.adjusted_p > ALPHA:
            return Finding.UNDETECTED
        return Finding.HIGHER if sum(self.differences) > 0 else Finding.LOWER


def contrast_arms(
    contrasts: Sequence[tuple[str, str]], values: Mapping[str, Mapping[int, float]]
) -> list[PairedContrast]:
    """Returns every declared contrast, with p adjusted over all of them.

    A contrast with too few pairs for a p still counts in the family, as if its p were 1: the
    family is what was declared, not what happened to finish.

    Args:
        contrasts: Pairs of arm and baseline, declared beforehand.
        values: For each arm, the endpoint by seed; seeds that failed are absent.
    """
    pairs = [pair_by_seed(values.get(a, {}), values.get(b, {})) for a, b in contrasts]
    raw = [
        sign_flip_p(differences) if len(seeds) >= MIN_PAIRS_FOR_INTERVAL else None
        for seeds, differences in pairs
    ]
    adjusted = adjust_holm([1.0 if p is None else p for p in raw])
    results = []
    for (arm, baseline), (seeds, differences), p, holm in zip(
        contrasts, pairs, raw, adjusted, strict=True
    ):
        enough = p is not None
        results.append(
            PairedContrast(
                arm=arm,
                baseline=baseline,
                family=len(contrasts),
                seeds=seeds,
                differences=differences,
                mean=fmean(differences) if differences else None,
                median=median(differences) if differences else None,
                interval=student_interval(differences) if enough else None,
                p_value=p,
                adjusted_p=holm if enough else None,
                detectable=(
                    detectable_effect(differences, contrasts=len(contrasts)) if enough else None
                ),
            )
        )
    return results


def say_verdict(contrast: PairedContrast, *, notes: Sequence[str] = ()) -> str:
    """Returns the verdict as one sentence that claims no more than the seeds support.

    Args:
        contrast: What is judged.
        notes: What else belongs into the brackets, say the arms' lambda.
    """
    arm, baseline, pairs = contrast.arm, contrast.baseline, len(contrast.seeds)
    if contrast.mean is None:
        return f"no seed finished in both {arm} and {baseline}" + _bracket(notes)
    if contrast.interval is None:
        return (
            f"{arm} - {baseline} is {contrast.mean:+.2f} on average over {_count(pairs, 'seed')}, "
            f"too few for an interval ({MIN_PAIRS_FOR_INTERVAL}) or a verdict "
            f"({min_pairs_for_verdict(contrast.family)})" + _bracket(notes)
        )
    half_width = contrast.interval.half_width
    places = _decimals(half_width)
    size = f"{abs(contrast.mean):.{places}f} ± {half_width:.{places}f}"
    evidence = ["95 % interval", _say_p(contrast), f"{pairs} pairs", *notes]
    match contrast.finding:
        case Finding.HIGHER | Finding.LOWER as direction:
            return f"{arm} is {direction} than {baseline} by {size}{_bracket(evidence)}"
        case Finding.UNDETECTED:
            sign = "+" if contrast.mean >= 0 else "-"
            return (
                f"no detectable difference: {arm} - {baseline} is {sign}{size}"
                f"{_bracket(evidence)}; {pairs} seeds could have shown "
                f"{contrast.detectable:.{places}f}"
            )
        case Finding.TOO_FEW_SEEDS:
            sign = "+" if contrast.mean >= 0 else "-"
            return (
                f"no verdict: {arm} - {baseline} is {sign}{size}"
                f"{_bracket(['95 % interval', f'{pairs} pairs', *notes])}; {pairs} seeds cannot "
                f"reach p < {ALPHA} with {_count(contrast.family, 'contrast')}, "
                f"{min_pairs_for_verdict(contrast.family)} can"
            )


def say_p(p: float) -> str:
    """Returns p as the literature prints it: `p = .031`, `p < .001`."""
    if p < 0.001:
        return "p < .001"
    return "p = " + f"{p:.3f}".removeprefix("0")


def _say_p(contrast: PairedContrast) -> str:
    assert contrast.adjusted_p is not None  # the caller has an interval, hence a p
    return say_p(contrast.adjusted_p) + (", Holm" if contrast.family > 1 else "")


def _bracket(parts: Sequence[str]) -> str:
    return f" ({'; '.join(parts)})" if parts else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _decimals(half_width: float) -> int:
    """Two significant digits of the uncertainty decide how much of the number is worth printing."""
    if half_width < 1e-9:
        return 3
    return min(4, max(0, 1 - math.floor(math.log10(half_width))))
