"""From the cells of a comparison to its summary: arms, contrasts, and what failed.

The primary endpoint is the AUC of the held-out score; contrasts and verdicts are on it alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median

from .cells import CellResult, account_for_cells
from .contrasts import PairedContrast, contrast_arms
from .curves import GOLD_SCORE, SCORE, ArmInfo, CellCurve, FailedCell, mean_at_start
from .equivalence import Contrast
from .secondary import Arrivals, EqualKl, scores_at_equal_kl, steps_to_gain
from .statistics import standard_error
from .verdicts import say_verdict

ENDPOINT = "mean held-out score over training (AUC of eval/score over PPO steps)"


@dataclass(frozen=True)
class SeedSpread:
    """One quantity over the finished seeds of an arm."""

    values: tuple[float | None, ...]
    """In the order of the arm's seeds; None where a cell lacks the quantity."""
    mean: float | None
    median: float | None
    standard_error: float | None
    """s / sqrt(n); None below two values."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "SeedSpread":
        """Returns the values with their mean, median and standard error."""
        known = [value for value in values if value is not None]
        if not known:
            return cls(tuple(values), None, None, None)
        return cls(tuple(values), fmean(known), median(known), standard_error(known))


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its finished seeds."""

    arm: ArmInfo
    seeds: tuple[int, ...]
    failed: int
    """Cells of this arm without a usable result."""
    collapsed: tuple[int, ...]
    """Seeds whose run fell below the SFT model, or gave a KL alarm; they count like others."""
    auc: SeedSpread
    finals: Mapping[str, SeedSpread]
    """`score`, `gold_score`, `kl_exact`, `length`, ...: whatever was evaluated."""


@dataclass(frozen=True)
class Summary:
    """What a comparison found."""

    arms: tuple[ArmSummary, ...]
    contrasts: tuple[PairedContrast, ...]
    verdicts: tuple[str, ...]
    """One sentence for each contrast."""
    baseline: str | None
    """Arm that the tables hold every other arm against; None where no contrast names one."""
    differences: Mapping[str, PairedContrast]
    """Every other arm against the baseline, for the tables: intervals, declared or not."""
    baseline_score: float | None
    """Held-out score of the SFT model; None if no cell was evaluated at step 0."""
    baseline_gold_score: float | None
    equal_kl: tuple[EqualKl, ...]
    """Empty where KLs do not compare."""
    arrivals: Arrivals | None
    """None without a baseline, or where it gained nothing."""
    cells: tuple[CellResult, ...]
    """Every cell, by arm and seed."""

    @property
    def failed(self) -> tuple[CellResult, ...]:
        """The cells without a usable result."""
        return tuple(cell for cell in self.cells if not cell.finished)


def summarise(
    arms: Sequence[ArmInfo],
    curves: Sequence[CellCurve],
    contrasts: Sequence[Contrast],
    failed: Sequence[FailedCell] = (),
) -> Summary:
    """Returns the summary of a comparison, every cell accounted for.

    Args:
        arms: In the order of the tables.
        curves: The finished cells.
        contrasts: Declared beforehand; the first names the baseline of the tables.
        failed: Cells that gave no result.

    Raises:
        ValueError: A cell or a contrast names an unknown arm, or a cell appears twice.
    """
    _require_known(arms, contrasts)
    cells = account_for_cells(arms, curves, failed)
    endpoint: dict[str, dict[int, float]] = {arm.name: {} for arm in arms}
    for cell in cells:
        if cell.auc is not None:
            endpoint[cell.arm.name][cell.seed] = cell.auc
    judged = contrast_arms(contrasts, endpoint, sorted({cell.seed for cell in cells}))
    baseline = contrasts[0].baseline if contrasts else None
    others = [Contrast(arm.name, baseline) for arm in arms if baseline and arm.name != baseline]
    usable = [curve for curve in curves if curve.seed in endpoint[curve.arm]]
    return Summary(
        arms=tuple(_summarise_arm(arm, cells) for arm in arms),
        contrasts=tuple(judged),
        verdicts=tuple(say_verdict(one, notes=_notes(one, arms, cells)) for one in judged),
        baseline=baseline,
        differences={one.arm: one for one in contrast_arms(others, endpoint)},
        baseline_score=mean_at_start(usable, SCORE),
        baseline_gold_score=mean_at_start(usable, GOLD_SCORE),
        equal_kl=scores_at_equal_kl(usable, contrasts),
        arrivals=steps_to_gain(usable, contrasts),
        cells=tuple(cells),
    )


def result_rows(summary: Summary) -> list[dict[str, str | int | float | None]]:
    """Returns results.csv: one row for each cell, all with the same columns."""
    finals = dict.fromkeys(name for cell in summary.cells for name in cell.finals)
    return [
        {
            "arm": cell.arm.name,
            "mode": cell.arm.mode,
            "beta": cell.arm.beta,
            "gae_lambda": cell.arm.gae_lambda,
            "seed": cell.seed,
            "status": cell.status,
            "auc": cell.auc,
            "collapsed": cell.collapsed,
            **{f"final_{name}": cell.finals.get(name) for name in finals},
            "reason": cell.reason,
        }
        for cell in summary.cells
    ]


def to_json(summary: Summary) -> dict[str, object]:
    """Returns summary.json: plain dicts, lists, strings, finite numbers and None."""
    return {
        "endpoint": ENDPOINT,
        "baseline": {
            "score": summary.baseline_score,
            "gold_score": summary.baseline_gold_score,
        },
        "cells": len(summary.cells),
        "failed": [
            {"arm": cell.arm.name, "seed": cell.seed, "status": cell.status, "reason": cell.reason}
            for cell in summary.failed
        ],
        "arms": [
            {
                **asdict(one.arm),
                "seeds": list(one.seeds),
                "failed": one.failed,
                "collapsed": list(one.collapsed),
                "auc": asdict(one.auc),
                **{f"final_{name}": asdict(spread) for name, spread in one.finals.items()},
            }
            for one in summary.arms
        ],
        "against_baseline": [asdict(contrast) for contrast in summary.differences.values()],
        "contrasts": [
            {**asdict(contrast), "finding": contrast.finding.value, "verdict": verdict}
            for contrast, verdict in zip(summary.contrasts, summary.verdicts, strict=True)
        ],
        "equal_kl": [asdict(one) for one in summary.equal_kl],
        "arrivals": None if summary.arrivals is None else asdict(summary.arrivals),
    }


def _summarise_arm(arm: ArmInfo, cells: Sequence[CellResult]) -> ArmSummary:
    own = [cell for cell in cells if cell.arm.name == arm.name]
    finished = [cell for cell in own if cell.finished]
    names = dict.fromkeys(name for cell in finished for name in cell.finals)
    return ArmSummary(
        arm=arm,
        seeds=tuple(cell.seed for cell in finished),
        failed=len(own) - len(finished),
        collapsed=tuple(cell.seed for cell in finished if cell.collapsed),
        auc=SeedSpread.of([cell.auc for cell in finished]),
        finals={
            name: SeedSpread.of([cell.finals.get(name) for cell in finished]) for name in names
        },
    )


def _notes(
    contrast: PairedContrast, arms: Sequence[ArmInfo], cells: Sequence[CellResult]
) -> list[str]:
    """What a verdict has to name: what alone can make an arm look better (lambda, KL), failures."""
    lambdas = {arm.name: arm.gae_lambda for arm in arms}
    own, other = lambdas[contrast.arm], lambdas[contrast.baseline]
    notes = [f"lambda {own:g}" if own == other else f"lambda {own:g} against {other:g}"]
    spent = [_mean_final_kl(name, cells) for name in (contrast.arm, contrast.baseline)]
    if None not in spent:
        notes.append(f"final KL {spent[0]:.1f} against {spent[1]:.1f}")
    involved = [cell for cell in cells if cell.arm.name in {contrast.arm, contrast.baseline}]
    lost = sum(not cell.finished for cell in involved)
    if lost:
        notes.append(f"{lost} of {len(involved)} cells without a result")
    collapsed = sum(cell.collapsed for cell in involved)
    if collapsed:
        notes.append(f"{collapsed} of {len(involved)} runs collapsed")
    return notes


def _mean_final_kl(arm: str, cells: Sequence[CellResult]) -> float | None:
    return SeedSpread.of([one.finals.get("kl_exact") for one in cells if one.arm.name == arm]).mean


def _require_known(arms: Sequence[ArmInfo], contrasts: Sequence[Contrast]) -> None:
    known = [arm.name for arm in arms]
    for contrast in contrasts:
        shares = contrast.margin.of if contrast.margin is not None else None
        for name in (contrast.arm, contrast.baseline, *(shares or ())):
            if name not in known:
                raise ValueError(f"contrasts must name arms of {known}, received {name!r}")
