"""Starts and watches processes; for tests of how they end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120.0
"""For tests that fail; whatever is waited for takes seconds, on a busy machine some more."""


def alive(pid: int) -> bool:
    """True while the process runs; a zombie that nobody has reaped yet is dead."""
    return _stat(pid)[0] != "Z"


def group_members(group: int) -> list[int]:
    """The living processes of a process group."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if alive(pid) and _stat(pid)[2] == str(group)]


def holder(path: Path, group: int) -> int | None:
    """The process of a group that has a file open, a lock for example."""
    for pid in group_members(group):
        with suppress(OSError):  # the process or the descriptor may be gone by now
            if any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


def listens_to(pid: int, number: signal.Signals) -> bool:
    """True once the process has a handler of its own for a signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return any(mask >> (number - 1) & 1 for mask in caught)


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def read_pids(folder: Path) -> list[int]:
    """The processes that tasks of the workload have named in files."""
    return [int(path.read_text()) for path in folder.glob("*.pid")]


@contextmanager
def disposition(
    number: signal.Signals, handler: signal.Handlers | Callable[[int, FrameType | None], Any]
) -> Iterator[None]:
    """What runs or is started in the block has a signal ignored, or not ignored."""
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


class Command:
    """A command in a process group of its own, as a terminal starts it."""

    def __init__(self, *words: object, hangup: signal.Handlers = signal.SIG_DFL) -> None:
        # Whoever runs the tests in the background, or under nohup, has one of them ignored.
        with disposition(signal.SIGINT, signal.SIG_DFL), disposition(signal.SIGHUP, hangup):
            self.process = subprocess.Popen(
                [str(word) for word in words],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    @property
    def group(self) -> int:
        """Its process group, whose leader it is."""
        return self.process.pid

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """A terminal signals the whole group, other senders the command alone."""
        if to_group:
            os.killpg(self.group, number)
        else:
            self.process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """Waits for the end of every process; returns exit code and the lines on stderr."""
        _, errors = self.process.communicate(timeout=LIMIT_SECONDS)
        wait_for(lambda: group_members(self.group) == [])
        return self.process.returncode, errors.splitlines()

    def clean_up(self) -> None:
        """Ends by force what a failed test has left."""
        if group_members(self.group):
            os.killpg(self.group, signal.SIGKILL)
        self.process.communicate()


def start_grid_elsewhere(
    folder: Path, *, preload: tuple[str, ...] = ()
) -> "subprocess.Popen[bytes]":
    """Starts a process that runs three long tasks, two at a time."""
    script = folder / "grid.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import signal
            import sys
            from pathlib import Path
            from abcrl.grid import Task, run_tasks
            from tests.grid import workload

            if __name__ == "__main__":
                for number in (signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.default_int_handler)
                folder = Path({str(folder)!r})
                tasks = [
                    Task(f"{{n}}", workload.tidy_up, (folder / f"{{n}}.pid",)) for n in range(3)
                ]
                try:
                    run_tasks(tasks, jobs=2, preload={preload!r})
                except KeyboardInterrupt:
                    sys.exit(130)
            """
        )
    )
    with (folder / "stderr").open("wb") as stderr, disposition(signal.SIGINT, signal.SIG_DFL):
        # A group of its own: what a terminal's Ctrl-C reaches is then exactly this grid.
        return subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )


def _stat(pid: int) -> list[str]:
    """State, parent, group ... of a process; that of a zombie where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", "0", "0"]
