"""How a stage tells whoever watches how far it is; it does not know who that is."""

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Receives progress. `cli/` draws it; a worker of a comparison ignores it."""

    def start(self, what: str, total: int) -> None:
        """A piece of work of `total` steps begins."""
        ...

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """`done` steps of the current piece are finished; `numbers` are worth showing."""
        ...

    def message(self, text: str) -> None:
        """Something to tell, one line."""
        ...


class SilentReporter:
    """Ignores everything."""

    def start(self, what: str, total: int) -> None:
        """Ignored."""

    def advance(self, done: int, numbers: Mapping[str, float]) -> None:
        """Ignored."""

    def message(self, text: str) -> None:
        """Ignored."""
