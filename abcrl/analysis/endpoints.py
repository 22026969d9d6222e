"""What a cell's curve is reduced to: one number each, as pure functions with their source.

AUC is the primary endpoint of a comparison; the others are described, with intervals and no
verdict.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .statistics import require_finite

COLLAPSE_EVALUATIONS = 3
"""A run has collapsed where the mean of its last so many evaluations is too low."""
COLLAPSE_ERRORS = 2.0
"""Standard errors of the SFT model's score by which that mean must lie below it."""
KL_SHARES = (0.25, 0.5, 0.75)
"""Shares of the smallest largest KL at which scores are compared."""
GAIN_SHARE = 0.9
"""Share of the baseline's mean final gain that a run must reach to have arrived."""


def auc(steps: Sequence[int], values: Sequence[float]) -> float:
    """Returns the area under an evaluation curve over the range of its steps: a mean score.

    sum_i (s_{i+1} - s_i) (v_i + v_{i+1}) / 2  /  (s_last - s_first), the trapezoid rule. A single
    evaluation is its own mean.

    Args:
        steps: PPO steps, strictly increasing.
        values: One value for each step, in score units.

    Raises:
        ValueError: No points, lengths that differ, steps out of order, a value that is not finite.
    """
    if not steps or len(steps) != len(values):
        raise ValueError(
            f"auc needs one value for each step and at least one, received {len(steps)} steps "
            f"and {len(values)} values"
        )
    widths = np.diff(steps)
    if np.any(widths <= 0):
        raise ValueError(f"steps must be strictly increasing, received {list(steps)}")
    heights = require_finite("values", values)
    if len(steps) == 1:
        return float(heights[0])
    area = np.sum(widths * (heights[1:] + heights[:-1]) / 2)
    return float(area / (steps[-1] - steps[0]))


def score_at_kl(kls: Sequence[float], scores: Sequence[float], level: float) -> float | None:
    """Returns the score where the training path first reaches a KL; None where it never does.

    Between two evaluations path and score are straight lines. A path may come back to the same KL
    later, with another score: this is the first time, and a point of a training path, not of a
    frontier.

    Args:
        kls: Exact KL to the SFT model at each evaluation, nats per response.
        scores: Held-out score at the same evaluations.
        level: KL to look for, nats per response.

    Raises:
        ValueError: Lengths that differ.
    """
    return _at_crossing(kls, scores, level)


def first_step_at(steps: Sequence[int], scores: Sequence[float], threshold: float) -> float | None:
    """Returns the step at which the score first reaches a threshold; None where it never does.

    Between two evaluations the score is a straight line, so the step need not be whole.

    Raises:
        ValueError: Lengths that differ.
    """
    return _at_crossing(scores, steps, threshold)


@dataclass(frozen=True)
class Arrival:
    """When a run reached a threshold, of which only the part up to its last step is known."""

    steps: float
    """min(T, horizon): its mean over runs is the restricted mean time to the threshold."""
    censored: bool
    """True where it did not arrive within the horizon."""


def restricted_arrival(
    steps: Sequence[int], scores: Sequence[float], threshold: float, *, horizon: int
) -> Arrival:
    """Returns when a run arrived, cut at a horizon that all runs share.

    A run that never arrives counts with the horizon: leaving it out would make slow arms look fast.
    The restricted mean needs no assumption on what comes later; Royston and Parmar (2013),
    "Restricted mean survival time", BMC Medical Research Methodology 13.
    """
    arrived = first_step_at(steps, scores, threshold)
    if arrived is None or arrived > horizon:
        return Arrival(float(horizon), censored=True)
    return Arrival(arrived, censored=False)


def has_collapsed(
    scores: Sequence[float], sft_score: float, sft_standard_error: float | None
) -> bool:
    """Whether the last evaluations lie below the SFT model by more than its score's uncertainty.

    mean of the last three < SFT - 2 SE; with fewer evaluations, of those after the first.

    Args:
        scores: Held-out score at each evaluation, the SFT model's first.
        sft_score: The SFT model's.
        sft_standard_error: Of that score over prompts; None: 0.
    """
    last = list(scores[1:])[-COLLAPSE_EVALUATIONS:]
    if not last:
        return False
    bar = sft_score - COLLAPSE_ERRORS * (sft_standard_error or 0.0)
    return float(np.mean(last)) < bar


def _at_crossing(levels: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """Returns the value where `levels`, joined by straight lines, first reaches `level`."""
    if len(levels) != len(values):
        raise ValueError(f"each point needs both, received {len(levels)} and {len(values)}")
    before: tuple[float, float] | None = None
    for here, value in zip(levels, values, strict=True):
        if not (math.isfinite(here) and math.isfinite(value)):
            continue
        if here >= level:
            if before is None or here == before[0]:
                return float(value)
            share = (level - before[0]) / (here - before[0])
            return float(before[1] + share * (value - before[1]))
        before = (float(here), float(value))
    return None
