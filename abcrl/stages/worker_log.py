"""What a stage says in a worker process, which has a log file for a terminal."""

import re
import sys
from pathlib import Path

from abcrl.reporter import SilentReporter

# Mark a stage's own lines among whatever libraries print.
_SAID = "abcrl: "
_BEGUN = "abcrl begins: "


class WorkerReporter(SilentReporter):
    """A worker's progress is in its run folder; what it says goes to its log, its stdout."""

    def start(self, what: str, total: int) -> None:
        """Writes how many steps there will be."""
        sys.stdout.write(f"{_BEGUN}{what}, {total} steps\n")

    def message(self, text: str) -> None:
        """Writes the message."""
        sys.stdout.write(f"{_SAID}{text}\n")


class WorkerLog:
    """A log, as far as it is written from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def messages(self) -> list[str]:
        """Returns what the stage has said."""
        return [line.removeprefix(_SAID) for line in self._lines() if line.startswith(_SAID)]

    def total(self) -> int:
        """Returns how many steps the stage has in all; 0 as long as it has not said so."""
        begun = [line for line in self._lines() if line.startswith(_BEGUN)]
        found = re.search(r"(\d+) steps$", begun[-1]) if begun else None
        return int(found[1]) if found else 0

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace").splitlines()
