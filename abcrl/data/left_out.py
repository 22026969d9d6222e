"""What was left out of a source and why, counted, with the first places."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

PLACES = 3
"""How many places are told of each reason."""


@dataclass(frozen=True)
class Finding:
    """Something that is so in some rows of a source.

    Attributes:
        count: In how many.
        places: The first of them, at most `PLACES`.
    """

    count: int = 0
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The places, for messages."""
        more = ", ..." if self.count > len(self.places) else ""
        return ", ".join(self.places) + more


@dataclass(frozen=True)
class LeftOut:
    """The rows that are not in a corpus, by the reason, in the order of their first occurrence."""

    findings: Mapping[str, Finding] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return sum(finding.count for finding in self.findings.values())

    def __getitem__(self, reason: str) -> Finding:
        """Returns the rows that were left out for one reason, which may be none."""
        return self.findings.get(reason, Finding())

    def lines(self) -> Iterator[str]:
        """Yields a line for each reason."""
        for reason, finding in self.findings.items():
            yield f"data: {in_rows(finding.count)} left out: {reason} ({finding})"


class Tally:
    """Counts rows by what is so in them, and keeps the first places."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        """Counts one row."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < PLACES:
            places.append(place)

    def findings(self) -> dict[str, Finding]:
        """Returns what was counted, in the order of the first occurrence."""
        return {
            reason: Finding(count, tuple(self._places[reason]))
            for reason, count in self._counts.items()
        }


@dataclass(frozen=True)
class Tallies:
    """All that is counted while the rows of a source go by, and those that are held out.

    Attributes:
        left_out: Rows that are not used.
        kept: Rows that are used, though there is something to be known of them.
        bad: Rows that cannot be read, by the rule that they break.
    """

    left_out: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    bad: Tally = field(default_factory=Tally)


def in_rows(count: int) -> str:
    """Returns so many rows, in words."""
    return "1 row" if count == 1 else f"{count} rows"
