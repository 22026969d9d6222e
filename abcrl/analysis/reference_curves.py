"""Training curves of runs made elsewhere, such as the paper's, and ours beside them.

They are scores of the batches trained on, step by step: all that others publish as a rule. Our
primary endpoint, the held-out score, they cannot be held against.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from abcrl.config import InputError, RewardMode

from .contrasts import PairedContrast, contrast_arms
from .curves import ArmInfo
from .equivalence import Contrast
from .reference_file import FLAG, ReferenceCurves, TrainingCurve

LAST_STEPS = 10
"""Steps that the mean at the end is taken over."""
REFERENCE_LAMBDA = 0.95
"""GAE's lambda of the paper's runs, which released curves do not state."""
_SPARSE_BETA = 0.0


@dataclass(frozen=True)
class ArmCurves:
    """The runs of one arm at one source, over the steps that both sources have."""

    runs: tuple[TrainingCurve, ...]
    """Cut to those steps."""
    auc: float
    """Mean training score over the steps, mean over the runs."""
    last: float
    """The same over the last LAST_STEPS of them."""
    difference: PairedContrast | None
    """Its AUC minus that of the sparse arm of the same source, paired; None for that arm itself."""


@dataclass(frozen=True)
class HeldAgainst:
    """One of our arms, and its counterpart where it has one."""

    arm: ArmInfo
    counterpart: str | None
    """Name of the arm in the file."""
    ours: ArmCurves
    theirs: ArmCurves | None


@dataclass(frozen=True)
class CurveComparison:
    """Training curves of two sources over the same steps."""

    reference: ReferenceCurves
    steps: int
    """They are of steps 1 to this one: all that every run compared has."""
    baseline: str | None
    """Our sparse arm, against which the differences are."""
    arms: tuple[HeldAgainst, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Arms of the file that are no counterpart of ours."""
        matched = {one.counterpart for one in self.arms}
        return tuple(name for name in self.reference.arms if name not in matched)


def match_arms(arms: Sequence[ArmInfo], reference: ReferenceCurves) -> dict[str, str]:
    """Returns, for those of our arms that have one, the counterpart in the file.

    That of the same name; else, where the arm has the paper's settings (lambda 0.95 and the beta
    of its mode), that of its mode. An arm named by a number stands for abc with that beta, at 0
    for rlhf. No counterpart is given twice.
    """
    matched = {arm.name: arm.name for arm in arms if arm.name in reference.arms}
    for arm in arms:
        free = [name for name in reference.arms if name not in matched.values()]
        same = [name for name in free if _is_counterpart(arm, name)]
        if arm.name not in matched and arm.gae_lambda == REFERENCE_LAMBDA and same:
            matched[arm.name] = same[0]
    return matched


def require_counterpart(arms: Sequence[ArmInfo], reference: ReferenceCurves) -> None:
    """Refuses a reference that has a curve for none of the arms.

    Raises:
        InputError: Names the arms of both.
    """
    if not match_arms(arms, reference):
        raise InputError(
            f"{FLAG}: must have curves of an arm compared here "
            f"({', '.join(arm.name for arm in arms)}), received {reference.name} with "
            f"{', '.join(reference.arms)}; choose other curves, or name an arm as they do"
        )


def hold_against(
    arms: Sequence[ArmInfo], runs: Sequence[TrainingCurve], reference: ReferenceCurves
) -> CurveComparison:
    """Returns our finished runs and their counterparts, over the steps that all of them have.

    Args:
        arms: In the order of the tables; one without a finished run is left out.
        runs: Our finished runs.
        reference: Somebody else's.

    Raises:
        ValueError: There is no finished run, or none that was trained.
    """
    ours = {arm.name: [run for run in runs if run.arm == arm.name] for arm in arms}
    shown = [arm for arm in arms if ours[arm.name]]
    matched = match_arms(shown, reference)
    theirs = {
        name: [run for run in reference.runs if run.arm == other] for name, other in matched.items()
    }
    lengths = [len(run.score) for side in (ours, theirs) for own in side.values() for run in own]
    steps = min(lengths, default=0)
    if not steps:
        raise ValueError("curves can be compared where there is a finished run of at least a step")
    baseline = _find_baseline(shown, matched)
    our_side = _summarise(ours, baseline, steps)
    their_side = _summarise(theirs, baseline, steps)
    return CurveComparison(
        reference=reference,
        steps=steps,
        baseline=baseline,
        arms=tuple(
            HeldAgainst(arm, matched.get(arm.name), our_side[arm.name], their_side.get(arm.name))
            for arm in shown
        ),
    )


def _is_counterpart(arm: ArmInfo, name: str) -> bool:
    mode = RewardMode(arm.mode)
    beta = _to_beta(name)
    if beta is None:
        return name == mode and arm.beta == mode.default_beta
    return mode in (RewardMode.ABC, RewardMode.RLHF) and (arm.beta or _SPARSE_BETA) == beta


def _to_beta(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _find_baseline(arms: Sequence[ArmInfo], matched: Mapping[str, str]) -> str | None:
    """The sparse arm, with a counterpart if there is one such."""
    sparse = [arm.name for arm in arms if not arm.beta]
    return next(iter([name for name in sparse if name in matched] + sparse), None)


def _summarise(
    arms: Mapping[str, Sequence[TrainingCurve]], baseline: str | None, steps: int
) -> dict[str, ArmCurves]:
    means = {
        name: {run.seed: fmean(run.score[:steps]) for run in runs} for name, runs in arms.items()
    }
    others = []
    if baseline is not None and baseline in arms:  # theirs may lack it
        others = [Contrast(name, baseline) for name in arms if name != baseline]
    differences = {one.arm: one for one in contrast_arms(others, means)}
    return {
        name: ArmCurves(
            runs=tuple(
                TrainingCurve(name, run.seed, run.score[:steps], run.kl[:steps]) for run in runs
            ),
            auc=fmean(means[name].values()),
            last=fmean(fmean(run.score[:steps][-LAST_STEPS:]) for run in runs),
            difference=differences.get(name),
        )
        for name, runs in arms.items()
        if runs
    }
