"""How a command that was stopped ends, and what it leaves."""

import json
import re
import signal
from pathlib import Path

from filelock import FileLock

from abcrl.storage import read_rows, read_status
from tests.grid.processes import Command, wait_for

SIGNALS = [signal.SIGINT, signal.SIGTERM]
PROGRESS = re.compile(r"(training|PPO|sft|reward-model|cells|\S+/seed-\d+)\b.*: ")
INTERRUPTED = (130, ["abcrl: interrupted"])


def end(command: Command) -> tuple[int, list[str]]:
    """Exit code, and what stderr holds besides progress."""
    code, lines = command.end()
    return code, [line for line in lines if not PROGRESS.match(line)]


def wait_for_rows(*folders: Path) -> None:
    wait_for(lambda: all(read_rows(folder, "metrics") for folder in folders))


def assert_orderly(folder: Path) -> None:
    """The run says that it was interrupted; nothing is half-written, nobody holds it."""
    assert read_status(folder) == "interrupted"
    with FileLock(folder / ".lock").acquire(timeout=0):
        pass
    if (folder / "metrics.jsonl").exists():
        text = (folder / "metrics.jsonl").read_text()
        assert text.endswith("\n")
        assert all(json.loads(line) for line in text.splitlines())
    assert list(folder.rglob("*.tmp")) == []
