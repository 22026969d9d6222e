"""Whether a difference is too small to matter: tests against a margin stated beforehand.

"No detectable difference" says that the seeds are too few or the arms alike; only this tells which.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from abcrl.config.verdicts import ALPHA, MIN_PAIRS_FOR_INTERVAL

from .statistics import Interval, adjust_holm, equivalence_p, pair_by_seed, student_interval

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


def judge_margins(
    contrasts: Sequence[Contrast],
    values: Mapping[str, Endpoint],
    seeds: Sequence[int] | None = None,
) -> list[Equivalence | None]:
    """Returns for each contrast whether its difference lies within the margin that it states.

    Holm's adjustment covers the contrasts that state one. They are a family of their own: of one
    contrast, "no difference" and "a difference as large as the margin" are never both true.

    Args:
        contrasts: Declared beforehand.
        values: For each arm, the endpoint by seed; seeds that failed are absent.
        seeds: Those that every arm was to run with; None: nothing is missing. With missing cells
            nothing is claimed, and the contrast counts in the family as if its p were 1.
    """
    found = [_judge(one, values, seeds) for one in contrasts]
    declared = [number for number, one in enumerate(contrasts) if one.margin is not None]
    p_values = [1.0 if (one := found[number]) is None else one.p_value for number in declared]
    for number, adjusted in zip(declared, adjust_holm(p_values), strict=True):
        one = found[number]
        if one is not None:
            found[number] = one._replace(adjusted_p=adjusted)
    return found


def _judge(
    contrast: Contrast, values: Mapping[str, Endpoint], wanted: Sequence[int] | None
) -> Equivalence | None:
    """Returns the test of one margin before the family is known; None where there is none."""
    if contrast.margin is None:
        return None
    differences = _differences(contrast.arm, contrast.baseline, values)
    margins = dict.fromkeys(differences, contrast.margin.size)
    if contrast.margin.of is not None:
        whole = _differences(*contrast.margin.of, values)
        margins = {seed: contrast.margin.size * one for seed, one in whole.items()}
    seeds = sorted(differences.keys() & margins.keys())
    if len(seeds) < MIN_PAIRS_FOR_INTERVAL or set(wanted or ()) - set(seeds):
        return None
    d, m = [differences[seed] for seed in seeds], [margins[seed] for seed in seeds]
    p = equivalence_p(d, m)
    interval = student_interval(d, confidence=1 - 2 * ALPHA)
    return Equivalence(contrast.margin, fmean(m), p, p, interval)


def _differences(arm: str, baseline: str, values: Mapping[str, Endpoint]) -> dict[int, float]:
    return dict(zip(*pair_by_seed(values.get(arm, {}), values.get(baseline, {})), strict=True))
