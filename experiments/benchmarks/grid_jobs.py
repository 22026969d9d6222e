"""What a second job brings: the same PPO cells with one job and with more, from start to end.

Each grid is a call of `abcrl compare` of its own, on the same SFT and reward model, in a new
folder; its seconds are those of the whole command, imports, tables and report included. All grids
end in the same bytes, or the program ends.
Run: python grid_jobs.py --help
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from arguments import count

_COMMAND: Final = (sys.executable, "-c", "from abcrl_cli.main import app; app()")
_ARMS: Final = ("abc", "rlhf")
_RESULTS: Final = ("metrics.jsonl", "samples.jsonl", "final/model.safetensors")


def abcrl(*arguments: str) -> float:
    """Runs a command of abcrl's; returns its seconds of wall clock.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is on stderr.
    """
    begun = time.perf_counter()
    subprocess.run([*_COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def train_models(folder: Path, settings: argparse.Namespace) -> list[str]:
    """Trains what all grids share, by a grid of one cell; returns the settings that name it."""
    shared = folder / "shared"
    abcrl(
        *("compare", "--output", str(shared), "--modes", "rlhf", "--seeds", "0", "--jobs", "1"),
        *settings_of(settings),
        *("--set", "ppo.steps=1"),
    )
    given = {"policy": shared / "sft", "reward_model": shared / "reward-model"}
    named = {"sft": "null", "train_rm": "null"} | {
        key: str(run / "final") for key, run in given.items()
    }
    return [part for key, value in named.items() for part in ("--set", f"{key}={value}")]


def settings_of(settings: argparse.Namespace) -> list[str]:
    """Returns the `--set` options of every call."""
    assignments = [f"ppo.steps={settings.steps}", *settings.set]
    return [part for one in assignments for part in ("--set", one)]


def run_grid(folder: Path, jobs: int, models: Sequence[str], settings: argparse.Namespace) -> float:
    """Runs the cells with so many jobs; returns the seconds of the call."""
    return abcrl(
        *("compare", "--output", str(folder), "--jobs", str(jobs)),
        *("--modes", ",".join(_ARMS), "--seeds", f"0-{settings.cells // len(_ARMS) - 1}"),
        *settings_of(settings),
        *models,
    )


def digests(folder: Path) -> dict[str, str]:
    """Returns the content hashes of every cell's results."""
    cells = sorted((folder / "cells").glob("*/*"))
    return {
        str((cell / name).relative_to(folder)): hashlib.blake2b(
            (cell / name).read_bytes()
        ).hexdigest()
        for cell in cells
        for name in _RESULTS
    }


def measure(settings: argparse.Namespace) -> dict[int, list[float]]:
    """Runs the grids in turns, each turn beginning with another; returns seconds by jobs.

    Raises:
        RuntimeError: Two grids differ in a byte.
    """
    seconds: dict[int, list[float]] = {jobs: [] for jobs in settings.jobs}
    first: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        models = train_models(Path(place), settings)
        for turn in range(settings.repeats):
            for jobs in settings.jobs if turn % 2 == 0 else reversed(settings.jobs):
                folder = Path(place) / f"turn-{turn}-jobs-{jobs}"
                seconds[jobs].append(run_grid(folder, jobs, models, settings))
                found = digests(folder)
                first = first or found
                if found != first or len(found) != settings.cells * len(_RESULTS):
                    raise RuntimeError(f"the cells of {folder.name} are not those of the first")
                print(f"turn {turn}, {jobs} jobs: {seconds[jobs][-1]:.1f} s", file=sys.stderr)
    return seconds


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cells", type=count, default=16, help="PPO cells, even (default: 16)")
    parser.add_argument("--steps", type=count, default=25, help="PPO steps of each (default: 25)")
    parser.add_argument(
        "--jobs", type=count, nargs="+", default=[1, 2], help="jobs to compare (default: 1 2)"
    )
    parser.add_argument("--repeats", type=count, default=3, help="turns (default: 3)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of every call, repeatable"
    )
    parser.add_argument("--json", type=Path, help="file for all numbers")
    settings = parser.parse_args(arguments)
    if settings.cells % len(_ARMS):
        parser.error(f"--cells must be even, received {settings.cells}")
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    settings = read_arguments(arguments)
    seconds = measure(settings)
    base = seconds[settings.jobs[0]]
    print(f"{settings.cells} cells of {settings.steps} PPO steps, {settings.repeats} turns")
    print("jobs  seconds, median (all)              times as fast as the first")
    for jobs, own in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(base, own, strict=True))
        every = ", ".join(f"{one:.1f}" for one in own)
        print(f"{jobs:4d}  {statistics.median(own):7.1f} ({every})".ljust(43) + f"{ratio:.2f}")
    print("every cell's metrics, samples and weights: the same bytes")
    if settings.json is not None:
        settings.json.write_text(json.dumps({str(jobs): own for jobs, own in seconds.items()}))


if __name__ == "__main__":
    main()
