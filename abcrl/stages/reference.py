"""A finished comparison beside training curves of runs made elsewhere (`--against`)."""

import re
from dataclasses import dataclass
from pathlib import Path

from abcrl.analysis import ArmInfo
from abcrl.analysis.comparison import describe_arm
from abcrl.analysis.reference_curves import (
    CurveComparison,
    hold_against,
    match_arms,
    require_counterpart,
)
from abcrl.analysis.reference_file import ReferenceCurves, TrainingCurve, read_reference_curves
from abcrl.config import CompareConfig, plan_cells
from abcrl.storage import read_rows

from .compare import CompareResult


@dataclass(frozen=True)
class AgainstResult:
    """Our training curves beside somebody else's."""

    compared: CurveComparison
    figure: Path
    """PNG beside an SVG of the same name."""


def open_reference(config: CompareConfig, against: str) -> ReferenceCurves:
    """Returns the curves that `FILE:NAME` stands for, before anything is trained.

    Raises:
        InputError: They cannot be read, or are of none of the arms.
    """
    reference = read_reference_curves(against)
    require_counterpart(_arms(config), reference)
    return reference


def describe_reference(config: CompareConfig, reference: ReferenceCurves) -> str:
    """Returns the plan's line: which of our arms will be seen beside which of theirs."""
    matched = match_arms(_arms(config), reference)
    pairs = [name if name == other else f"{name} ({other})" for name, other in matched.items()]
    alone = [arm.name for arm in config.swept_arms if arm.name not in matched]
    without = f"; without a counterpart: {', '.join(alone)}" if alone else ""
    return f"beside {reference.name} of {reference.file}: {', '.join(pairs)}{without}"


def compare_with_reference(
    config: CompareConfig, result: CompareResult, reference: ReferenceCurves
) -> AgainstResult | None:
    """Holds the finished cells against the curves and draws both; runs nothing.

    Returns:
        None where no cell has finished.
    """
    finished = {(cell.arm.name, cell.seed) for cell in result.summary.cells if cell.finished}
    runs = [
        TrainingCurve.from_rows(cell.arm.name, cell.seed, read_rows(cell.folder, "metrics"))
        for cell in plan_cells(config)
        if (cell.arm.name, cell.seed) in finished
    ]
    if not runs:
        return None
    from abcrl.analysis.figures.reference import plot_against  # matplotlib, only when it draws

    compared = hold_against(_arms(config), runs, reference)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", reference.name)
    figure, _ = plot_against(compared, result.folder / f"against-{name}")
    return AgainstResult(compared, figure)


def _arms(config: CompareConfig) -> list[ArmInfo]:
    return [describe_arm(cell) for cell in plan_cells(config) if cell.seed == config.seeds[0]]
