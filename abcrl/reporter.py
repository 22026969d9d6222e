"""How a stage tells whoever watches how far it is; it does not know who that is."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Reporter(Protocol):
    """Receives progress. `cli/` draws it; a worker of a comparison ignores it."""

    def start(self, what: str, total: int) -> None:
        """A piece of work of `total` steps begins, or its total is known now; 0: not yet."""
        ...

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """`done` steps of the current piece are finished; `numbers` are worth showing."""
        ...

    def message(self, text: str) -> None:
        """Something to tell, one line."""
        ...


class CellState(NamedTuple):
    """Where one cell of a comparison stands."""

    name: str
    """Arm and seed."""
    state: str
    """waiting, running, or how it ended."""
    step: int
    """The last PPO step it has written."""
    steps: int
    """PPO steps in all."""
    score: float | None
    """Mean score of that step's responses; None before the first."""
    kl: float | None
    """KL to the SFT model at that step, nats per response."""
    seconds_left: float | None
    """At the pace so far; None where there is none."""


class GridReporter(Reporter, Protocol):
    """Receives progress of many runs at a time."""

    def cells(self, states: Sequence[CellState]) -> None:
        """Where all cells stand, in the order of the grid."""
        ...


class SilentReporter:
    """Ignores everything."""

    def start(self, what: str, total: int) -> None:
        """Ignored."""

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """Ignored."""

    def message(self, text: str) -> None:
        """Ignored."""

    def cells(self, states: Sequence[CellState]) -> None:
        """Ignored."""
