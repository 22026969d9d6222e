"""The plain data that the analysis starts from: arms, evaluation curves of cells, failed cells."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from .endpoints import has_collapsed

SCORE = "eval/score"
"""The primary metric: held-out score, by which a row is known to be an evaluation."""
GOLD_SCORE = "eval/gold_score"
"""What a text is truly worth, where the data know it."""
KL = "eval/kl_exact"
_SCORE_ERROR = "eval/score_se"
_ALARM = "objective/kl_alarm"


@dataclass(frozen=True)
class ArmInfo:
    """What a table says about an arm."""

    name: str
    mode: str
    beta: float | None
    """Share of the score that is spread; None where the mode has none."""
    gae_lambda: float
    point: str = ""
    """Where in a sweep it stands, e.g. `kl.coef=0.05`; empty where none reaches it."""


@dataclass(frozen=True)
class CellCurve:
    """The evaluations of one finished cell."""

    arm: str
    seed: int
    steps: tuple[int, ...]
    """PPO steps at which it was evaluated, ascending; 0 is the SFT model."""
    metrics: Mapping[str, tuple[float, ...]]
    """By name, one value for each step; what a row lacks is NaN."""
    alarmed: bool = False
    """Whether a training step's KL was so negative that it cannot be one."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Content hashes of what it began with, by name; cells with one seed should agree in each."""

    @property
    def name(self) -> str:
        """Names the cell in sentences."""
        return f"{self.arm} seed {self.seed}"

    @classmethod
    def from_rows(
        cls,
        arm: str,
        seed: int,
        rows: Iterable[Mapping[str, float | int | None]],
        *,
        inputs: Mapping[str, str] | None = None,
    ) -> "CellCurve":
        """Returns the curve in a run's metrics rows; those without an evaluation are skipped."""
        rows = list(rows)
        evaluations = [row for row in rows if SCORE in row]
        names = dict.fromkeys(
            name for row in evaluations for name in row if name.startswith("eval/")
        )
        metrics = {name: tuple(_to_float(row.get(name)) for row in evaluations) for name in names}
        steps = tuple(int(_to_float(row["step"])) for row in evaluations)
        alarmed = any(row.get(_ALARM) for row in rows)
        return cls(arm, seed, steps, metrics, alarmed, inputs or {})

    @property
    def collapsed(self) -> bool:
        """Whether it ended below the SFT model, or the KL it trained on cannot be one."""
        error = self.metrics.get(_SCORE_ERROR, (math.nan,))[0]
        known = error if math.isfinite(error) else None
        scores = self.metrics[SCORE]
        return self.alarmed or has_collapsed(scores, scores[0], known)

    def last(self, name: str) -> float | None:
        """Returns the metric's value at the last evaluation; None where it has none."""
        values = self.metrics.get(name, ())
        return values[-1] if values and math.isfinite(values[-1]) else None


@dataclass(frozen=True)
class FailedCell:
    """A cell that gave no usable result."""

    arm: str
    seed: int
    status: str
    """failed | interrupted | killed | running | missing."""
    reason: str = ""


def mean_at_start(curves: Iterable[CellCurve], name: str) -> float | None:
    """Returns the metric of the SFT model: its mean over all cells' evaluations at step 0."""
    values = [
        value
        for curve in curves
        for step, value in zip(curve.steps, curve.metrics.get(name, ()), strict=False)
        if step == 0 and math.isfinite(value)
    ]
    return fmean(values) if values else None


def _to_float(value: float | None) -> float:
    return math.nan if value is None else float(value)
