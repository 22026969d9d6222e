"""A verdict as a card: its sentence, and its numbers to scale."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from abcrl.analysis import Finding, PairedContrast, Summary

_PADDING = 0.04
_SAID = {
    Finding.HIGHER: "higher",
    Finding.LOWER: "lower",
    Finding.UNDETECTED: "no detectable difference",
    Finding.TOO_FEW_SEEDS: "no verdict: too few seeds",
    Finding.UNDECIDED: "no verdict: depends on missing cells",
}


@dataclass(frozen=True)
class Card:
    """One declared contrast; positions are percentages of a scale that all cards share."""

    contrast: PairedContrast
    verdict: str
    said: str
    """The finding in a few words."""
    zero: float
    points: tuple[float, ...]
    """One for each seed."""
    mean: float | None
    ends: tuple[float, float] | None
    """Of the interval."""

    @property
    def decided(self) -> bool:
        """Whether a difference was found."""
        return self.contrast.finding in {Finding.HIGHER, Finding.LOWER}


def make_cards(summary: Summary) -> list[Card]:
    """Returns a card for each declared contrast, in their order."""
    known = [value for contrast in summary.contrasts for value in _values(contrast)]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = _PADDING * (high - low) or 1.0
    without = {one.arm.name for one in summary.arms if not one.seeds}

    def place(value: float) -> float:
        return 100 * (value - low + margin) / (high - low + 2 * margin)

    return [
        Card(
            contrast,
            verdict,
            _say(contrast, without),
            zero=place(0.0),
            points=tuple(map(place, contrast.differences)),
            mean=None if contrast.mean is None else place(contrast.mean),
            ends=None
            if contrast.interval is None
            else (place(contrast.interval.low), place(contrast.interval.high)),
        )
        for contrast, verdict in zip(summary.contrasts, summary.verdicts, strict=True)
    ]


def _say(contrast: PairedContrast, without: Collection[str]) -> str:
    """Returns the finding; seeds are too few only where there are any."""
    if contrast.seeds:
        return _SAID[contrast.finding]
    lost = [name for name in (contrast.arm, contrast.baseline) if name in without]
    return f"no verdict: no result of {' and '.join(lost)}" if lost else "no verdict: no pair"


def _values(contrast: PairedContrast) -> Sequence[float]:
    interval = contrast.interval
    return [*contrast.differences, *((interval.low, interval.high) if interval else ())]
