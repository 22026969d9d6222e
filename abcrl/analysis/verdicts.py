"""What a contrast found, in a sentence that claims no more than the seeds support."""

import math
from collections.abc import Sequence

from abcrl.config.verdicts import MIN_PAIRS_FOR_INTERVAL, min_pairs_for_verdict
from abcrl.config.words import count

from .contrasts import Finding, PairedContrast
from .equivalence import Equivalence, Margin
from .wording import say_too_few

_ROUNDING = 1e-9
"""An uncertainty this small beside the number is that of its arithmetic."""


def say_verdict(contrast: PairedContrast, *, notes: Sequence[str] = ()) -> str:
    """Returns the verdict as a sentence; where a margin was declared, as two.

    Args:
        contrast: What is judged.
        notes: What else belongs into the brackets, say the arms' lambda.
    """
    sentence = _say_difference(contrast, notes)
    if contrast.margin is None:
        return sentence
    return f"{sentence}. {_say_margin(contrast, contrast.margin)}"


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
            f"{_say_mean(contrast, contrast.mean)}, too few for an interval "
            f"({MIN_PAIRS_FOR_INTERVAL}) or a verdict "
            f"({min_pairs_for_verdict(contrast.family)})" + _bracket(notes)
        )
    half_width = contrast.interval.half_width
    places = _decimals(half_width, contrast.mean)
    size = f"{abs(contrast.mean):.{places}f} ± {half_width:.{places}f}"
    signed = f"{arm} - {baseline} is {'+' if contrast.mean >= 0 else '-'}{size}"
    shown = ["95 % interval", f"{pairs} pairs"]
    if _identical(contrast):
        signed, shown = f"{arm} and {baseline} are identical in all {count(pairs, 'pair')}", []
    plain = _bracket([*shown, *notes])
    match contrast.finding:
        case Finding.HIGHER | Finding.LOWER as direction:
            return f"{arm} is {direction} than {baseline} by {size}{_say_test(contrast, notes)}"
        case Finding.UNDETECTED if _identical(contrast):
            return f"no detectable difference: {signed}{plain}"
        case Finding.UNDETECTED:
            undetected = f"no detectable difference: {signed}{_say_test(contrast, notes)}"
            if contrast.detectable is None:  # cells are missing
                return undetected
            return f"{undetected}; {pairs} seeds could have shown {contrast.detectable:.{places}f}"
    return f"no verdict: {signed}{plain}; {_say_why_none(contrast)}"


def _say_why_none(contrast: PairedContrast) -> str:
    if contrast.finding is Finding.TOO_FEW_SEEDS:
        return say_too_few(len(contrast.seeds), contrast.family, "contrast")
    if not contrast.missing:
        return "what cells of other contrasts without a result could have said would change it"
    pairs = count(len(contrast.missing), "pair")
    return f"what {pairs} without a result could have said would change it"


def _say_mean(contrast: PairedContrast, mean: float) -> str:
    arm, baseline, pairs = contrast.arm, contrast.baseline, len(contrast.seeds)
    if _identical(contrast):
        return f"{arm} and {baseline} are identical in {count(pairs, 'seed')}"
    places = max(2, _two_digits(mean)) if mean else 2
    return f"{arm} - {baseline} is {mean:+.{places}f} on average over {count(pairs, 'seed')}"


def _identical(contrast: PairedContrast) -> bool:
    return not any(contrast.differences)


def _say_test(contrast: PairedContrast, notes: Sequence[str]) -> str:
    """Returns interval, p and pairs in brackets.

    Interval and mean are of the pairs that are there, p is of all that were to be: with missing
    cells the two are told apart.
    """
    assert contrast.adjusted_p is not None  # the caller has an interval, hence a p
    p, pairs = say_p(contrast.adjusted_p), f"{len(contrast.seeds)} pairs"
    holm = ", Holm" if contrast.family > 1 else ""
    if not contrast.missing:
        return _bracket(["95 % interval", f"{p}{holm}", pairs, *notes])
    worst = f"p at worst {p.removeprefix('p ')}{holm}"
    wanted = len(contrast.seeds) + len(contrast.missing)
    return _bracket([f"95 % interval of {pairs}", f"{worst}, over all {wanted}", *notes])


def _say_margin(contrast: PairedContrast, margin: Margin) -> str:
    if contrast.equivalence is None:
        bound = f"{margin.size:g}" if margin.of is None else _say_share(margin)
        return (
            f"Whether {contrast.arm} and {contrast.baseline} differ by less than {bound} is not "
            f"tested: {contrast.not_tested}"
        )
    return _say_equivalence(contrast, contrast.equivalence)


def _say_equivalence(contrast: PairedContrast, equivalence: Equivalence) -> str:
    arm, baseline = contrast.arm, contrast.baseline
    interval = equivalence.interval
    places = _decimals(interval.half_width, equivalence.size)
    bound = f"{equivalence.size:.{places}f}"
    if equivalence.margin.of is not None:
        bound += f" ({_say_share(equivalence.margin)})"
    evidence = _bracket(
        [
            f"90 % interval [{interval.low:+.{places}f}, {interval.high:+.{places}f}]",
            f"{say_p(equivalence.adjusted_p)}, two one-sided tests",
        ]
    )
    if equivalence.shown:
        return f"{arm} and {baseline} differ by less than {bound}{evidence}"
    return f"That they differ by less than {bound} is not shown{evidence}"


def _say_share(margin: Margin) -> str:
    assert margin.of is not None  # the caller has asked
    whole, other = margin.of
    return f"{100 * margin.size:g} % of {whole} - {other}"


def _bracket(parts: Sequence[str]) -> str:
    return f" ({'; '.join(parts)})" if parts else ""


def _decimals(half_width: float, number: float) -> int:
    """Returns the decimals of a number and its uncertainty, two significant digits of the latter.

    At most four, or as many as keep a smaller number from reading as zero.
    """
    visible = max(3, _two_digits(number)) if number else 3
    if half_width <= _ROUNDING * abs(number):
        return visible
    return min(max(4, visible), max(0, _two_digits(half_width)))


def _two_digits(number: float) -> int:
    return 1 - math.floor(math.log10(abs(number)))
