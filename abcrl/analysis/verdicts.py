"""What a contrast found, in a sentence that claims no more than the seeds support."""

import math
from collections.abc import Sequence

from abcrl.config.verdicts import ALPHA, MIN_PAIRS_FOR_INTERVAL, min_pairs_for_verdict

from .contrasts import Finding, PairedContrast
from .equivalence import Equivalence


def say_verdict(contrast: PairedContrast, *, notes: Sequence[str] = ()) -> str:
    """Returns the verdict as a sentence; where a margin was stated, as two.

    Args:
        contrast: What is judged.
        notes: What else belongs into the brackets, say the arms' lambda.
    """
    sentence = _say_difference(contrast, notes)
    if contrast.equivalence is None:
        return sentence
    return f"{sentence}. {_say_equivalence(contrast, contrast.equivalence)}"


def say_p(p: float) -> str:
    """Returns p as the literature prints it: `p = .031`, `p < .001`."""
    if p < 0.001:
        return "p < .001"
    return "p = " + f"{p:.3f}".removeprefix("0")


def _say_difference(contrast: PairedContrast, notes: Sequence[str]) -> str:
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
    signed = f"{arm} - {baseline} is {'+' if contrast.mean >= 0 else '-'}{size}"
    plain = _bracket(["95 % interval", f"{pairs} pairs", *notes])
    tested = _bracket(["95 % interval", _say_p(contrast), f"{pairs} pairs", *notes])
    match contrast.finding:
        case Finding.HIGHER | Finding.LOWER as direction:
            return f"{arm} is {direction} than {baseline} by {size}{tested}"
        case Finding.UNDETECTED:
            return (
                f"no detectable difference: {signed}{tested}; {pairs} seeds could have shown "
                f"{contrast.detectable:.{places}f}"
            )
        case Finding.UNDECIDED:
            return (
                f"no verdict: {signed}{plain}; what {_count(len(contrast.missing), 'pair')} "
                f"without a result could have said would change it"
            )
        case Finding.TOO_FEW_SEEDS:
            return (
                f"no verdict: {signed}{plain}; {pairs} seeds cannot "
                f"reach p < {ALPHA} with {_count(contrast.family, 'contrast')}, "
                f"{min_pairs_for_verdict(contrast.family)} can"
            )


def _say_equivalence(contrast: PairedContrast, equivalence: Equivalence) -> str:
    arm, baseline = contrast.arm, contrast.baseline
    interval = equivalence.interval
    places = _decimals(interval.half_width)
    bound = f"{equivalence.size:.{places}f}"
    if equivalence.margin.of is not None:
        whole, other = equivalence.margin.of
        bound += f" ({100 * equivalence.margin.size:g} % of {whole} - {other})"
    evidence = _bracket(
        [
            f"90 % interval [{interval.low:+.{places}f}, {interval.high:+.{places}f}]",
            f"{say_p(equivalence.adjusted_p)}, two one-sided tests",
        ]
    )
    if equivalence.shown:
        return f"{arm} and {baseline} differ by less than {bound}{evidence}"
    return f"That they differ by less than {bound} is not shown{evidence}"


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
