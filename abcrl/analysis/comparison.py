"""A comparison as its folder holds it: each cell's curve, or why there is none, and the summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from abcrl.config import Cell, CompareConfig, ContrastConfig, plan_cells
from abcrl.storage import read_reason, read_rows, read_status

from .collect import Summary, summarise
from .curves import ArmInfo, CellCurve, FailedCell
from .equivalence import Contrast, Margin


@dataclass(frozen=True)
class Comparison:
    """What there is of a comparison, finished or not.

    Attributes:
        arms: In the order of the tables.
        curves: Of the finished cells.
        summary: What they say, every cell accounted for.
    """

    arms: Sequence[ArmInfo]
    curves: Sequence[CellCurve]
    summary: Summary

    @property
    def usable(self) -> list[CellCurve]:
        """The curves that count: evaluated over the same steps as the others."""
        counted = {(cell.arm.name, cell.seed) for cell in self.summary.cells if cell.finished}
        return [curve for curve in self.curves if (curve.arm, curve.seed) in counted]


def read_comparison(config: CompareConfig, reasons: Mapping[str, str] | None = None) -> Comparison:
    """Returns what the comparison's folder holds; writes nothing.

    Args:
        config: The comparison.
        reasons: Why cells failed, by their key, where their folders do not say it.
    """
    cells = plan_cells(config)
    arms = [describe_arm(cell) for cell in cells if cell.seed == config.seeds[0]]
    curves, failed = [], []
    for cell in cells:
        status = read_status(cell.folder) or "missing"
        if status == "finished":
            rows = read_rows(cell.folder, "metrics")
            curves.append(CellCurve.from_rows(cell.arm.name, cell.seed, rows))
        else:
            # A process that was killed, or that failed before it had a folder, left no reason.
            reason = read_reason(cell.folder) or (reasons or {}).get(cell.key, "")
            failed.append(FailedCell(cell.arm.name, cell.seed, status, reason))
    contrasts = [_declared(one) for one in config.declared_contrasts]
    return Comparison(arms, curves, summarise(arms, curves, contrasts, failed))


def describe_arm(cell: Cell) -> ArmInfo:
    """Returns what tables and figures say about the arm of a cell."""
    reward = cell.run.reward
    return ArmInfo(
        name=cell.arm.name,
        mode=reward.mode.value,
        beta=reward.effective_beta,
        gae_lambda=cell.run.ppo.gae_lambda,
    )


def _declared(contrast: ContrastConfig) -> Contrast:
    margin = None if contrast.margin is None else Margin(contrast.margin, contrast.margin_of)
    return Contrast(contrast.arm, contrast.baseline, margin)
