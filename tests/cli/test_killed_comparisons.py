"""kill -9 at any instant loses nothing of a comparison: a later call ends as if there was none."""

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from abcrl.storage import newest_checkpoint, read_status
from tests.cli.stopping import end
from tests.cli.undisturbed import (
    CELLS,
    PARTS,
    arguments,
    assert_same_results,
    complete,
    finished_runs_untouched,
    runs_of,
)
from tests.grid.processes import Command, group_members, wait_for

pytestmark = pytest.mark.slow

# The instants are uniform within a part: over the whole time most kills would meet imports and
# figures, which take longest in so small a comparison.
KILLED_IN = ("start", "sft", "sft", "reward-model", "cells", "cells", "results")
ORPHANED_SECONDS = 5.0
"""Within these nobody writes any more: an instant, and what a busy machine adds."""


def begins(folder: Path, part: str) -> bool:
    """Whether a call has come to a part, or beyond it."""
    states = {one: [read_status(run) for run in runs_of(folder, one)] for one in PARTS}
    reached = {
        "start": True,
        **{one: "running" in states[one] for one in PARTS[1:-1]},
        "results": states["cells"].count("finished") == CELLS,
    }
    return any(reached[one] for one in PARTS[PARTS.index(part) :])


def writers(command: Command, folder: Path) -> list[Path]:
    """What processes of the command have open in a folder: locks, logs, rows, models."""
    files: list[Path] = []
    for pid in group_members(command.group):
        with suppress(OSError):  # the process may be gone by now
            files += (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
    return [file for file in files if file.is_relative_to(folder)]


def kill(command: Command, folder: Path, part: str, seconds: float, *, to_group: bool) -> bool:
    """Kills it so long after a part began; its workers die with it. False: it had ended before."""
    wait_for(lambda: begins(folder, part) or command.process.poll() is not None)
    with suppress(subprocess.TimeoutExpired):
        command.process.wait(seconds)
    command.send(signal.SIGKILL, to_group=to_group)
    begun = time.monotonic()
    wait_for(lambda: not writers(command, folder))
    assert time.monotonic() - begun < ORPHANED_SECONDS
    code, said = end(command)  # of every process, also of a fork server that was still importing
    assert code in (0, -signal.SIGKILL), said
    return code != 0


def describe(folder: Path) -> str:
    """Says how far each run is."""
    runs = [
        (run.relative_to(folder), read_status(run), newest_checkpoint(run))
        for run in runs_of(folder)
    ]
    return ", ".join(
        f"{run} {status} {'' if checkpoint is None else checkpoint.name}".rstrip()
        for run, status, checkpoint in runs
    )


@pytest.mark.parametrize("to_group", [True, False], ids=["whole group", "command alone"])
def test_kills_at_random_instants_change_no_byte(undisturbed, start, tmp_path, to_group):
    folder = tmp_path / "comparison"
    seed = f"compare {to_group}"
    draw, kills = Random(seed), 0
    for part in KILLED_IN:
        seconds = draw.uniform(0, undisturbed.seconds[part] / KILLED_IN.count(part))
        with finished_runs_untouched(folder):
            killed = kill(start(*arguments(folder)), folder, part, seconds, to_group=to_group)
        kills += killed
        what = "kill" if killed else "ended before a kill"
        # Shown where the test fails.
        print(f"seed {seed!r}: {what} {seconds:.2f} s into {part}: {describe(folder)}")  # noqa: T201
    assert kills >= 5  # the last part may be over sooner than it was when it was left alone
    with finished_runs_untouched(folder):
        complete(start, folder)
    assert_same_results(folder, undisturbed.folder)
