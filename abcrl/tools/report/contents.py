"""Everything that a report says, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abcrl.analysis import ArmInfo, Summary
from abcrl.analysis.comparison import Comparison
from abcrl.analysis.figures.credit_profile import Profiles
from abcrl.analysis.figures.sweep import SweepAxis

from .conditions import Conditions
from .facts import Fact, Setting, Stage
from .samples import Samples


@dataclass(frozen=True)
class Report:
    """Everything that a report says."""

    title: str
    folder: Path
    command: str
    """That wrote the folder: compare | ppo | sft | train-rm."""
    found: Comparison
    settings: tuple[Setting, ...]
    """Of a comparison those in which its arms differ, of a run all of them."""
    stages: tuple[Stage, ...]
    facts: tuple[Fact, ...]
    samples: Samples = field(default_factory=Samples)
    profiles: Profiles = field(default_factory=dict)
    sweep: tuple[SweepAxis, ...] = ()
    conditions: Conditions = field(default_factory=Conditions)
    troubles: tuple[str, ...] = ()
    """What cannot be read beside the cells that have no result for it, a line each."""

    rows: Sequence[Mapping[str, Any]] = ()
    """Of a supervised run: its metrics."""

    @property
    def is_comparison(self) -> bool:
        """Whether it is of more than one run."""
        return self.command == "compare"

    @property
    def summary(self) -> Summary:
        """Arms, contrasts, verdicts, cells."""
        return self.found.summary

    @property
    def arms(self) -> Sequence[ArmInfo]:
        """In the order of the tables."""
        return self.found.arms

    @property
    def finished(self) -> int:
        """Number of cells that count."""
        return sum(cell.finished for cell in self.summary.cells)
