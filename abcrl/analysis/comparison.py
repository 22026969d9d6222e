"""A comparison as its folder holds it: each cell's curve, or why there is none, and the summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abcrl.config import Cell, CompareConfig, ContrastConfig, InputError, plan_cells
from abcrl.storage import (
    Look,
    read_fingerprints,
    read_looks,
    read_metrics,
    read_reason,
    read_status,
    weigh_looks,
)

from .collect import Summary, summarise
from .curves import ArmInfo, CellCurve, FailedCell
from .equivalence import Contrast, Margin

_INPUTS = ("policy", "reward_model", "texts")
"""Of what a cell read, what all cells with its seed should have in common."""
_AT_REST = ("failed", "killed", "missing")


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
        reasons: Why cells failed, by their key, where their folders do not say it. Of a cell that
            has begun again since, the reason is no longer true and left out.
    """
    cells = plan_cells(config)
    arms = [describe_arm(cell) for cell in cells if cell.seed == config.seeds[0]]
    found = [_read_cell(cell, (reasons or {}).get(cell.key, "")) for cell in cells]
    curves = [one for one in found if isinstance(one, CellCurve)]
    failed = [one for one in found if isinstance(one, FailedCell)]
    contrasts = [_declared(one) for one in config.declared_contrasts]
    earlier = weigh_looks(read_looks(Path(config.output)), Look.of(config))
    summary = summarise(arms, curves, contrasts, failed, earlier=earlier)
    return Comparison(arms, curves, summary)


def describe_arm(cell: Cell) -> ArmInfo:
    """Returns what tables and figures say about the arm of a cell."""
    reward = cell.run.reward
    return ArmInfo(
        name=cell.arm.name,
        mode=reward.mode.value,
        beta=reward.effective_beta,
        gae_lambda=cell.run.ppo.gae_lambda,
        point=cell.arm.name.partition("@")[2],
    )


def _read_cell(cell: Cell, recorded: str) -> CellCurve | FailedCell:
    """Returns the curve of a finished cell, or why there is none.

    Args:
        cell: Of the comparison.
        recorded: Why it failed, where somebody else knows: a process that was killed, or that
            failed before it had a folder, left no reason.
    """
    status = read_status(cell.folder) or "missing"
    name, seed = cell.arm.name, cell.seed
    if status != "finished":
        reason = read_reason(cell.folder) or (recorded if status in _AT_REST else "")
        return FailedCell(name, seed, status, reason)
    try:
        rows = read_metrics(cell.folder)
    except InputError as error:
        return FailedCell(name, seed, "failed", str(error).removeprefix(f"{cell.folder}/"))
    return CellCurve.from_rows(name, seed, rows, inputs=_read_inputs(cell))


def _read_inputs(cell: Cell) -> dict[str, str]:
    """Returns the fingerprints that cells with the same seed share.

    A policy's covers its adapters and value model: it is held only against those of cells with the
    same networks.
    """
    found = {name: one for name, one in read_fingerprints(cell.folder).items() if name in _INPUTS}
    if "policy" in found:
        found[f"policy {cell.run.networks.model_dump_json()}"] = found.pop("policy")
    return found


def _declared(contrast: ContrastConfig) -> Contrast:
    margin = None if contrast.margin is None else Margin(contrast.margin, contrast.margin_of)
    return Contrast(contrast.arm, contrast.baseline, margin)
