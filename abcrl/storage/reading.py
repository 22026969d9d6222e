"""What a run folder says to those who do not write it, also while the run is under way."""

import json
import math
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from abcrl.config import read_yaml

_LONGEST_ROW = 2**16
"""Bytes; a row of metrics has some thousand."""


def read_reason(path: Path) -> str:
    """Returns why a run failed, one line; empty where it did not."""
    try:
        return str(json.loads((path / "status.json").read_text(encoding="utf-8")).get("reason", ""))
    except (OSError, ValueError):
        return ""


def read_status(path: Path) -> str | None:
    """Returns running | finished | failed | interrupted | killed; None where there is no run."""
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
    try:
        return str(json.loads((path / "status.json").read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
    try:
        content = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_fingerprints(path: Path) -> dict[str, str]:
    """Returns the content hashes of what a run read, by name; empty where there is no run."""
    fingerprints = read_environment(path).get("fingerprints")
    return fingerprints if isinstance(fingerprints, dict) else {}


def read_rows(path: Path, stream: str) -> list[dict[str, Any]]:
    """Returns the complete rows of `<stream>.jsonl`, also while the run is writing."""
    try:
        text = (path / f"{stream}.jsonl").read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]


def read_last_row(path: Path, stream: str) -> dict[str, Any] | None:
    """Returns the last complete row of `<stream>.jsonl`, without reading what precedes it."""
    try:
        with (path / f"{stream}.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_ROW))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    return json.loads(lines[-2]) if len(lines) > 1 else None


def read_seconds(path: Path) -> float | None:
    """Returns the time that a run's steps and evaluations took; None where none is on record."""
    seconds = [
        value
        for row in read_rows(path, "timings")
        for name, value in row.items()
        if name.endswith("_seconds")
    ]
    return math.fsum(seconds) if seconds else None


def _is_locked(path: Path) -> bool:
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
