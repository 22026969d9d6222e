"""One run, one folder, one writer.

The folder is created by the run and never reused; a lock says that its writer is alive, status.json
says how it ended. "running" with a free lock means that the run was killed.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from abcrl.config import InputError, to_yaml
from abcrl.config.base import Group

Row = Mapping[str, object]

_LONGEST_ROW = 2**16
"""Bytes; a row of metrics has some thousand."""


class RunFolder:
    """The writer of a run folder; a context manager that records how the run ended."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, path: Path, config: Group, environment: Mapping[str, object]) -> Self:
        """Creates the folder, takes its lock and writes config.yaml and environment.json.

        Raises:
            InputError: The folder exists already or cannot be made.
        """
        cls.check_free(path)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"run.output: the folder must be creatable, received {path} ({error.strerror}); "
                f"choose another with --output"
            ) from None
        lock = FileLock(path / ".lock")
        # The folder is new, so only a reader asking for the status can hold the lock, and briefly.
        lock.acquire(timeout=10)
        folder = cls(path, lock)
        with ExitStack() as stack:
            stack.push(folder)  # what ends the run from here on is recorded
            folder._write_status("running")
            write_atomically(path / "config.yaml", to_yaml(config))
            folder.write_json("environment.json", environment)
            stack.pop_all()
        return folder

    @staticmethod
    def check_free(path: Path, key: str = "run.output") -> None:
        """Refuses an existing path: a run never overwrites another.

        Args:
            path: The folder that is to be made.
            key: Configuration key to name.

        Raises:
            InputError: The path exists.
        """
        if path.exists():
            raise InputError(
                f"{key}: the folder must not exist yet, received {path}; choose another name with "
                f"--output or remove it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._write_ending(error)
        except KeyboardInterrupt as interrupt:
            self._write_ending(interrupt)
            raise
        finally:
            self._lock.release()

    def append(self, stream: str, rows: Iterable[Row]) -> None:
        """Appends rows to `<stream>.jsonl`; a non-finite number is refused, not written.

        Raises:
            ValueError: A value is not finite.
        """
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        with (self.path / f"{stream}.jsonl").open("a", encoding="utf-8", newline="\n") as file:
            file.write(lines)

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Writes a JSON file in one step: readers see the old one or the new one."""
        write_json(self.path / name, content)

    def _write_ending(self, error: BaseException | None) -> None:
        if error is None:
            self._write_status("finished")
        elif isinstance(error, KeyboardInterrupt):
            self._write_status("interrupted")
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._write_status("failed", reason=reason)

    def _write_status(self, state: str, **details: object) -> None:
        self.write_json("status.json", {"state": state, **details})


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file by renaming a complete one into place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # there is one only when this was interrupted


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file in one step; a non-finite number is refused."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_reason(path: Path) -> str:
    """Returns why a run failed, one line; empty where it did not."""
    try:
        return str(json.loads((path / "status.json").read_text(encoding="utf-8")).get("reason", ""))
    except (OSError, ValueError):
        return ""


def read_status(path: Path) -> str | None:
    """Returns running | finished | failed | interrupted | killed; None where there is no run."""
    try:
        state = str(json.loads((path / "status.json").read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return "killed" if (path / ".lock").is_file() else None
    if state == "running" and not _is_locked(path):
        return "killed"
    return state


def read_config(path: Path) -> str | None:
    """Returns the text of a run's config.yaml; None where there is none."""
    try:
        return (path / "config.yaml").read_text(encoding="utf-8")
    except OSError:
        return None


def read_fingerprints(path: Path) -> dict[str, str]:
    """Returns the content hashes of what a run read, by name; empty where there is no run."""
    try:
        environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
        return dict(environment["fingerprints"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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


def _is_locked(path: Path) -> bool:
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
