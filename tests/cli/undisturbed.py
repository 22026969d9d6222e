"""A comparison of half a minute, the command that runs it, and what it leaves."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from abcrl.config import to_yaml
from abcrl.storage import read_status
from tests.cli.stopping import end
from tests.grid.processes import Command
from tests.stages.comparisons import configure

# SFT and reward model are trained in it, and every run of it has checkpoints to go on from.
SETTINGS: dict[str, Any] = {
    "sft__training__max_steps": 80,
    "sft__checkpoint__interval": 5,
    "train_rm__training__max_steps": 60,
    "train_rm__checkpoint__interval": 5,
    "ppo__steps": 16,
    "ppo__evaluation__interval": 4,
    "ppo__checkpoint__interval": 2,
}
CELLS = 4
PARTS = ("start", "sft", "reward-model", "cells", "results")
"""What a call does, in this order; it starts with imports."""

# Of the same comparison these differ: seconds; the command and where a run went on; the folder; and
# the page that shows all that. Logs, which differ too, hold what was said each time.
_VARYING = {"timings.jsonl", "environment.json", "config.yaml", "report.html"}

Start = Callable[..., Command]


@dataclass(frozen=True)
class Undisturbed:
    """The comparison, left alone from its start to its end.

    Attributes:
        folder: What it left.
        seconds: How long each part of it took.
    """

    folder: Path
    seconds: Mapping[str, float]


def arguments(folder: Path) -> list[object]:
    """Returns the command's arguments, after writing its configuration beside the folder."""
    file = folder.with_name(f"{folder.name}.yaml")
    file.write_text(to_yaml(configure(folder, **SETTINGS)))
    return ["compare", "--config", file, "--jobs", 2]


def run_undisturbed(start: Start, folder: Path) -> Undisturbed:
    """Runs it."""
    begun = time.time()
    complete(start, folder)
    cells = runs_of(folder, "cells")
    written = [
        _written(folder / "sft" / ".lock"),
        _written(folder / "reward-model" / ".lock"),
        min(_written(cell / ".lock") for cell in cells),
        max(_written(cell / "status.json") for cell in cells),
        _written(folder / "report.html"),
    ]
    durations = (after - before for before, after in pairwise([begun, *written]))
    return Undisturbed(folder, dict(zip(PARTS, durations, strict=True)))


def complete(start: Start, folder: Path) -> None:
    """Runs what is left of it."""
    code, said = end(start(*arguments(folder)))
    assert code == 0, said


def runs_of(folder: Path, part: str = "") -> list[Path]:
    """Returns the folders of the runs that are there, of one part or of all."""
    shared = [folder / name for name in ("sft", "reward-model") if (folder / name).exists()]
    runs = [*shared, *sorted(folder.glob("cells/*/*"))]
    return [run for run in runs if run.relative_to(folder).parts[0] == part or not part]


@contextmanager
def finished_runs_untouched(folder: Path) -> Iterator[None]:
    """What is finished before the block is not written in it: names, times and bytes stay."""
    before = {run: _stamps(run) for run in runs_of(folder) if read_status(run) == "finished"}
    yield
    for run, files in before.items():
        assert _stamps(run) == files, run


def assert_same_results(folder: Path, other: Path) -> None:
    """The comparisons agree in the name of every file, and in its bytes where it is a result.

    Rows, samples, weights, table, summary and figures are.
    """
    found, expected = _results(folder), _results(other)
    differing = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
    assert not differing, sorted(differing)


def _written(file: Path) -> float:
    return file.stat().st_mtime


def _stamps(run: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in run.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def _results(folder: Path) -> dict[str, bytes]:
    content = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name in _VARYING or name.startswith("logs/"):
            content[name] = b""
        else:
            content[name] = path.read_bytes()
    return content
