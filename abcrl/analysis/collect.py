"""From the cells of a comparison to its summary: arms, contrasts, and what failed.

The primary endpoint is the AUC of the held-out score; contrasts and verdicts are on it alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from abcrl.storage import Earlier

from .cells import CellResult, account_for_cells
from .contrasts import PairedContrast, contrast_arms
from .curves import GOLD_SCORE, SCORE, ArmInfo, CellCurve, FailedCell, mean_at_start
from .differences import PairedDifference
from .equivalence import Contrast
from .notes import note_contrast, unequal_inputs
from .secondary import Arrivals, EqualKls, scores_at_equal_kl, steps_to_gain
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
    baselines: Mapping[str, str]
    """For each arm the one that the tables hold it against, at the same point of a sweep; without
    the baselines themselves, and arms at points where no contrast names one."""
    differences: Mapping[str, PairedDifference]
    """Every arm against its baseline, for the tables: intervals, declared or not."""
    baseline_score: float | None
    """Held-out score of the SFT model; None if no cell was evaluated at step 0."""
    baseline_gold_score: float | None
    equal_kl: EqualKls
    arrivals: tuple[Arrivals, ...]
    """One for each baseline."""
    cells: tuple[CellResult, ...]
    """Every cell, by arm and seed."""
    unequal_inputs: tuple[str, ...]
    """In what finished cells with the same seed differ: policy, reward_model, texts; empty where
    all rest on the same."""
    reward_models: int
    """How many different ones the finished cells had; 0 where their folders do not say."""

    @property
    def failed(self) -> tuple[CellResult, ...]:
        """The cells without a usable result."""
        return tuple(cell for cell in self.cells if not cell.finished)

    @property
    def baseline(self) -> str | None:
        """The arm that all others are held against; None where there is none, or several are."""
        names = set(self.baselines.values())
        return names.pop() if len(names) == 1 else None


def summarise(
    arms: Sequence[ArmInfo],
    curves: Sequence[CellCurve],
    contrasts: Sequence[Contrast],
    failed: Sequence[FailedCell] = (),
    *,
    earlier: Earlier | None = None,
) -> Summary:
    """Returns the summary of a comparison, every cell accounted for.

    Args:
        arms: In the order of the tables.
        curves: The finished cells.
        contrasts: Declared beforehand; the first at each point of a sweep names the baseline of the
            tables there.
        failed: Cells that gave no result.
        earlier: What has been concluded of this comparison before.

    Raises:
        ValueError: A cell or a contrast names an unknown arm, or a cell appears twice.
    """
    _require_known(arms, contrasts)
    earlier = earlier or Earlier()
    cells = account_for_cells(arms, curves, failed)
    endpoint: dict[str, dict[int, float]] = {arm.name: {} for arm in arms}
    for cell in cells:
        if cell.auc is not None:
            endpoint[cell.arm.name][cell.seed] = cell.auc
    seeds = sorted({cell.seed for cell in cells})
    judged = contrast_arms(contrasts, endpoint, seeds, also_declared=earlier.dropped)
    baselines = _choose_baselines(arms, contrasts)
    usable = [curve for curve in curves if curve.seed in endpoint[curve.arm]]
    # The order of the cells is the caller's; what is said does not depend on it.
    usable.sort(key=lambda curve: (list(endpoint).index(curve.arm), curve.seed))
    return Summary(
        arms=tuple(_summarise_arm(arm, cells) for arm in arms),
        contrasts=tuple(judged),
        verdicts=tuple(
            say_verdict(
                one,
                notes=[
                    *note_contrast(one, arms, cells, usable),
                    *earlier.note(one.arm, one.baseline),
                ],
            )
            for one in judged
        ),
        baselines=baselines,
        differences={
            arm: PairedDifference.of(arm, baseline, endpoint) for arm, baseline in baselines.items()
        },
        baseline_score=mean_at_start(usable, SCORE),
        baseline_gold_score=mean_at_start(usable, GOLD_SCORE),
        equal_kl=scores_at_equal_kl(usable, contrasts),
        arrivals=tuple(
            _arrive(baseline, baselines, usable, contrasts)
            for baseline in dict.fromkeys(baselines.values())
        ),
        cells=tuple(cells),
        unequal_inputs=unequal_inputs(usable),
        reward_models=len(
            {one.inputs["reward_model"] for one in usable if "reward_model" in one.inputs}
        ),
    )


def _choose_baselines(arms: Sequence[ArmInfo], contrasts: Sequence[Contrast]) -> dict[str, str]:
    """Returns for each arm the baseline of the first contrast of an arm at the same point."""
    points = {arm.name: arm.point for arm in arms}
    at: dict[str, str] = {}
    for contrast in contrasts:
        at.setdefault(points[contrast.arm], contrast.baseline)
    return {
        arm.name: at[arm.point] for arm in arms if arm.point in at and at[arm.point] != arm.name
    }


def _arrive(
    baseline: str,
    baselines: Mapping[str, str],
    curves: Sequence[CellCurve],
    contrasts: Sequence[Contrast],
) -> Arrivals:
    own = {baseline, *(arm for arm, other in baselines.items() if other == baseline)}
    return steps_to_gain(
        [curve for curve in curves if curve.arm in own],
        [one for one in contrasts if {one.arm, one.baseline} <= own],
        baseline,
    )


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


def _require_known(arms: Sequence[ArmInfo], contrasts: Sequence[Contrast]) -> None:
    known = [arm.name for arm in arms]
    for contrast in contrasts:
        shares = contrast.margin.of if contrast.margin is not None else None
        for name in (contrast.arm, contrast.baseline, *(shares or ())):
            if name not in known:
                raise ValueError(f"contrasts must name arms of {known}, received {name!r}")
