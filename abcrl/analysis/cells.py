"""Every cell of a comparison accounted for: finished with its numbers, or failed with a reason."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    common = _most_common_range(curves)
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


def _judge(arm: ArmInfo, curve: CellCurve, common: tuple[int, int] | None) -> CellResult:
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


def _find_flaw(curve: CellCurve, common: tuple[int, int] | None) -> str:
    if not curve.steps:
        return f"no evaluation: no row has {SCORE}"
    if not all(math.isfinite(value) for value in curve.metrics[SCORE]):
        return f"{SCORE} is not finite"
    covered = (curve.steps[0], curve.steps[-1])
    if common is not None and covered != common:
        return (
            f"evaluated from step {covered[0]} to {covered[1]}, the others from {common[0]} to "
            f"{common[1]}"
        )
    return ""


def _most_common_range(curves: Sequence[CellCurve]) -> tuple[int, int] | None:
    ranges = Counter((curve.steps[0], curve.steps[-1]) for curve in curves if curve.steps)
    return ranges.most_common(1)[0][0] if ranges else None


def _require_each_once(arms: Sequence[ArmInfo], keys: Sequence[tuple[str, int]]) -> None:
    names = {arm.name for arm in arms}
    for (arm, seed), count in Counter(keys).items():
        if arm not in names:
            raise ValueError(f"cells must belong to an arm of {sorted(names)}, received {arm!r}")
        if count > 1:
            raise ValueError(f"each cell must be given once, received {arm} seed {seed} twice")
