"""What a run folder says to those who do not write it, also while the run is under way."""

import json
import math
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from abcrl.config import InputError, read_yaml

_LONGEST_ROW = 2**16
"""Bytes; a row of metrics has some thousand."""
_LARGEST = 1e40
"""No metric, in single precision, is larger; squares of such can still be summed."""
_STATES = frozenset({"running", "finished", "failed", "interrupted"})


def read_reason(path: Path) -> str:
    """Returns why a run failed, one line; empty where it did not."""
    return " ".join(str(_read_object(path / "status.json").get("reason", "")).split())


def read_status(path: Path) -> str | None:
    """Returns running | finished | failed | interrupted | killed; None where there is no run.

    Who may not ask for the lock, on a read-only disk or in somebody else's folder, cannot tell
    whether the run was killed: it is "running" then.
    """
    state = read_recorded_status(path)
    if state is None:
        return "killed" if (path / ".lock").is_file() else None
    if state == "running" and not _is_locked(path):
        return "killed"
    return state


def read_recorded_status(path: Path) -> str | None:
    """Returns what status.json says, None where it says nothing; asks for no lock.

    So "running" may also be a run that was killed.
    """
    state = _read_object(path / "status.json").get("state")
    return state if isinstance(state, str) and state in _STATES else None


def read_config(path: Path) -> str | None:
    """Returns the text of a run's config.yaml; None where there is none."""
    try:
        return (path / "config.yaml").read_text(encoding="utf-8")
    except OSError:
        return None


def is_ppo_run(path: Path) -> bool:
    """Whether a folder holds a PPO run, begun or finished, by its config.yaml.

    Raises:
        InputError: That file cannot be read.
    """
    file = path / "config.yaml"
    return file.is_file() and {"policy", "reward_model", "run"} <= read_yaml(file).keys()


def read_environment(path: Path) -> dict[str, Any]:
    """Returns the content of a run's environment.json; empty where there is none."""
    return _read_object(path / "environment.json")


def read_fingerprints(path: Path) -> dict[str, str]:
    """Returns the content hashes of what a run read, by name; empty where there is no run."""
    fingerprints = read_environment(path).get("fingerprints")
    return fingerprints if isinstance(fingerprints, dict) else {}


def read_rows(path: Path, stream: str) -> list[dict[str, Any]]:
    """Returns the complete rows of `<stream>.jsonl`, also while the run is writing.

    Raises:
        InputError: A line is no JSON object; names file and line.
    """
    file = path / f"{stream}.jsonl"
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _parse_object(line)
        if row is None:
            raise _no_row(file, number, stream, "received what is none")
        rows.append(row)
    return rows


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a PPO run's metrics.jsonl: one for each step, ascending, of numbers.

    Raises:
        InputError: A line is no such row; names file and line.
    """
    rows = read_rows(path, "metrics")
    last = -1
    for number, row in enumerate(rows, start=1):
        flaw = _flaw_of(row, last)
        if flaw:
            raise _no_row(path / "metrics.jsonl", number, "metrics", flaw)
        last = row["step"]
    return rows


def _flaw_of(row: dict[str, Any], last: int) -> str:
    step = row.get("step")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        return f"received step {step!r}"
    if step <= last:
        return f"received step {step} after step {last}"
    words = [name for name, value in row.items() if not _is_number(value)]
    return f"received {words[0]} {row[words[0]]!r}" if words else ""


def _is_number(value: object) -> bool:
    """Whether it is one that a run can have computed, infinite or NaN too, or null."""
    if value is None:
        return True
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _no_row(file: Path, number: int, stream: str, received: str) -> InputError:
    return InputError(
        f"{file}:{number}: must be a row of {stream}, {received[:200]}; the run cannot be read, "
        f"run it again"
    )


def read_last_row(path: Path, stream: str) -> dict[str, Any] | None:
    """Returns the last complete row of `<stream>.jsonl`, without reading what precedes it.

    None where there is none, or what stands there is no row.
    """
    try:
        with (path / f"{stream}.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_ROW))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    return _parse_object(lines[-2]) if len(lines) > 1 else None


def read_seconds(path: Path) -> float | None:
    """Returns the time that a run's steps and evaluations took; None where none is on record."""
    try:
        rows = read_rows(path, "timings")
    except InputError:
        return None
    seconds = [
        value
        for row in rows
        for name, value in row.items()
        if name.endswith("_seconds") and isinstance(value, int | float)
    ]
    return math.fsum(seconds) if seconds else None


def _read_object(file: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; empty where there is none."""
    try:
        return _parse_object(file.read_bytes()) or {}
    except OSError:
        return {}


def _parse_object(text: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _is_locked(path: Path) -> bool:
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except OSError:  # a Timeout is one, too
        return True
    lock.release()
    return False
