"""Whether a difference is too small to matter: tests against a margin stated beforehand.

"No detectable difference" says that the seeds are too few or the arms alike; only this tells which.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from abcrl.config.verdicts import ALPHA
from abcrl.config.words import count

from .statistics import (
    Interval,
    adjust_holm,
    can_reach_verdict,
    equivalence_p,
    pair_by_seed,
    student_interval,
)
from .wording import say_too_few

Endpoint = Mapping[int, float]
"""One number for each seed that has a result."""


class Margin(NamedTuple):
    """Differences smaller than this do not matter."""

    size: float
    """In score units; with `of`, as a share of that contrast's mean."""
    of: tuple[str, str] | None = None
    """Arm and baseline of the contrast it is a share of."""


class Contrast(NamedTuple):
    """A declared difference `arm - baseline`."""

    arm: str
    baseline: str
    margin: Margin | None = None
    """Where it is stated, the contrast is also tested for equivalence."""


class Equivalence(NamedTuple):
    """Whether the difference is smaller than a margin."""

    margin: Margin
    size: float
    """The margin in score units; of a share, the mean over the pairs."""
    p_value: float
    """Of two one-sided t tests."""
    adjusted_p: float
    """p after Holm, over the contrasts that state a margin."""
    interval: Interval
    """90 % Student t interval of the mean: of a fixed margin, inside it if p <= .05."""

    @property
    def shown(self) -> bool:
        """Whether "smaller than the margin" may be said."""
        return self.adjusted_p <= ALPHA


class MarginTest(NamedTuple):
    """What became of a declared margin."""

    equivalence: Equivalence | None
    """None where no margin was declared, or it was not tested."""
    not_tested: str = ""
    """Why, of a margin that was declared and not tested."""


def examine_margins(
    contrasts: Sequence[Contrast],
    values: Mapping[str, Endpoint],
    seeds: Sequence[int] | None = None,
) -> list[MarginTest]:
    """Returns for each contrast whether its difference lies within its margin, or why not tested.

    Holm's adjustment covers the contrasts that state a margin. They are a family of their own: of
    one contrast, "no difference" and "a difference as large as the margin" are never both true.
    What is not tested counts in it as if its p were 1.

    Nothing is claimed where a cell is missing; with fewer pairs than a verdict takes in a family of
    that size; and where the margin is a share of a contrast whose mean is not above 0.

    Args:
        contrasts: Declared beforehand.
        values: For each arm, the endpoint by seed; seeds that failed are absent.
        seeds: Those that every arm was to run with; None: nothing is missing.
    """
    declared = [number for number, one in enumerate(contrasts) if one.margin is not None]
    found = [_test(one, values, seeds, family=len(declared)) for one in contrasts]
    p_values = [
        1.0 if (one := found[number].equivalence) is None else one.p_value for number in declared
    ]
    for number, adjusted in zip(declared, adjust_holm(p_values), strict=True):
        one = found[number].equivalence
        if one is not None:
            found[number] = MarginTest(one._replace(adjusted_p=adjusted))
    return found


def _test(
    contrast: Contrast,
    values: Mapping[str, Endpoint],
    wanted: Sequence[int] | None,
    *,
    family: int,
) -> MarginTest:
    """Returns the test of one margin before Holm's adjustment."""
    if contrast.margin is None:
        return MarginTest(None)
    differences = _differences(contrast.arm, contrast.baseline, values)
    margins = dict.fromkeys(differences, contrast.margin.size)
    if contrast.margin.of is not None:
        whole = _differences(*contrast.margin.of, values)
        margins = {seed: contrast.margin.size * one for seed, one in whole.items()}
    seeds = sorted(differences.keys() & margins.keys())
    d, m = [differences[seed] for seed in seeds], [margins[seed] for seed in seeds]
    reason = _find_missing(contrast, values, wanted or ())
    if not reason and not can_reach_verdict(len(seeds), family):
        reason = say_too_few(len(seeds), family, "margin")
    if not reason and fmean(m) <= 0:
        reason = _say_no_share(contrast.margin, fmean(m))
    if reason:
        return MarginTest(None, reason)
    p = equivalence_p(d, m)
    interval = student_interval(d, confidence=1 - 2 * ALPHA)
    return MarginTest(Equivalence(contrast.margin, fmean(m), p, p, interval))


def _say_no_share(margin: Margin, size: float) -> str:
    assert margin.of is not None  # a fixed margin is above 0
    arm, baseline = margin.of
    return f"{arm} - {baseline} is {size / margin.size:+.2g}, and a share of that is no margin"


def _find_missing(contrast: Contrast, values: Mapping[str, Endpoint], wanted: Sequence[int]) -> str:
    whole = contrast.margin.of if contrast.margin is not None else None
    arms = dict.fromkeys((contrast.arm, contrast.baseline, *(whole or ())))
    missing = sum(seed not in values.get(arm, {}) for arm in arms for seed in wanted)
    return f"{count(missing, 'cell')} without a result" if missing else ""


def _differences(arm: str, baseline: str, values: Mapping[str, Endpoint]) -> dict[int, float]:
    return dict(zip(*pair_by_seed(values.get(arm, {}), values.get(baseline, {})), strict=True))
