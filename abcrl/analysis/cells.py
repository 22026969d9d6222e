"""Every cell of a comparison accounted for: finished with its numbers, or failed with a reason."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .curves import SCORE, ArmInfo, CellCurve, FailedCell
from .endpoints import auc

FINISHED = "finished"


@dataclass(frozen=True)
class CellResult:
    """One cell, finished or not: a row of results.csv."""

    arm: ArmInfo
    seed: int
    status: str
    """finished | failed | interrupted | killed | running | missing."""
    reason: str = ""
    auc: float | None = None
    """Mean held-out score over training; a number for every finished cell."""
    finals: Mapping[str, float | None] = field(default_factory=dict)
    """Values at the last evaluation, by the metric's name without `eval/`."""
    collapsed: bool = False
    """Whether it ended below the SFT model, or gave a KL alarm."""

    @property
    def finished(self) -> bool:
        """True when the cell counts in the comparison."""
        return self.status == FINISHED


def account_for_cells(
    arms: Sequence[ArmInfo], curves: Sequence[CellCurve], failed: Sequence[FailedCell]
) -> list[CellResult]:
    """Returns one result for each cell, by arm and seed.

    A cell in neither list whose seed another cell has is missing. A curve that cannot be compared
    with the others counts as failed: an AUC compares only with AUCs over the same steps.

    Raises:
        ValueError: A cell names an unknown arm, or appears twice.
    """
    keys = [(curve.arm, curve.seed) for curve in curves] + [(one.arm, one.seed) for one in failed]
    _require_each_once(arms, keys)
    by_name = {arm.name: arm for arm in arms}
    common = _most_common_steps(curves)
    cells = [_judge(by_name[curve.arm], curve, common) for curve in curves]
    cells += [CellResult(by_name[one.arm], one.seed, one.status, one.reason) for one in failed]
    cells += [
        CellResult(arm, seed, "missing")
        for arm in arms
        for seed in {seed for _, seed in keys}
        if (arm.name, seed) not in keys
    ]
    order = {arm.name: position for position, arm in enumerate(arms)}
    return sorted(cells, key=lambda cell: (order[cell.arm.name], cell.seed))


def _judge(arm: ArmInfo, curve: CellCurve, common: tuple[int, ...]) -> CellResult:
    reason = _find_flaw(curve, common)
    if reason:
        return CellResult(arm, curve.seed, "failed", reason)
    return CellResult(
        arm,
        curve.seed,
        FINISHED,
        auc=auc(curve.steps, curve.metrics[SCORE]),
        finals={name.removeprefix("eval/"): curve.last(name) for name in curve.metrics},
        collapsed=curve.collapsed,
    )


def _find_flaw(curve: CellCurve, common: tuple[int, ...]) -> str:
    if not curve.steps:
        return f"no evaluation: no row has {SCORE}"
    if not all(math.isfinite(value) for value in curve.metrics[SCORE]):
        return f"{SCORE} is not finite"
    if not _ascending(curve.steps):
        return "its evaluations are not in the order of their steps, or one is there twice"
    return _find_other_steps(curve.steps, common)


def _find_other_steps(steps: tuple[int, ...], common: tuple[int, ...]) -> str:
    covered, usual = (steps[0], steps[-1]), (common[0], common[-1])
    if covered != usual:
        return (
            f"evaluated from step {covered[0]} to {covered[1]}, the others from {usual[0]} to "
            f"{usual[1]}"
        )
    extra, lacking = sorted(set(steps) - set(common)), sorted(set(common) - set(steps))
    if extra:
        return f"evaluated at step {extra[0]}, the others not"
    if lacking:
        return f"not evaluated at step {lacking[0]}, the others were"
    return ""


def _most_common_steps(curves: Sequence[CellCurve]) -> tuple[int, ...]:
    """Returns the steps at which most cells were evaluated; empty without any.

    Of sets that are as common the one over the longest range, then that with the most evaluations:
    which arm is named first has no say.
    """
    counts = Counter(curve.steps for curve in curves if curve.steps and _ascending(curve.steps))
    if not counts:
        return ()
    return max(counts, key=lambda steps: (counts[steps], steps[-1] - steps[0], len(steps), steps))


def _ascending(steps: Sequence[int]) -> bool:
    return all(before < after for before, after in pairwise(steps))


def _require_each_once(arms: Sequence[ArmInfo], keys: Sequence[tuple[str, int]]) -> None:
    names = {arm.name for arm in arms}
    for (arm, seed), count in Counter(keys).items():
        if arm not in names:
            raise ValueError(f"cells must belong to an arm of {sorted(names)}, received {arm!r}")
        if count > 1:
            raise ValueError(f"each cell must be given once, received {arm} seed {seed} twice")
