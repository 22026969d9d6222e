"""One run, one folder, one writer.

The folder is created by the run and reused by nothing but the same run, resumed; a lock says that
its writer is alive, status.json says how it ended. "running" with a free lock means that the run
was killed.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from abcrl.config import InputError, to_yaml
from abcrl.config.base import Group

from .digests import file_size, hash_start
from .durable import new_folder, remove_folder, sweep, write_atomically

Row = Mapping[str, object]

STREAMS = ("metrics", "timings", "samples")
"""The JSONL files of a run that can be resumed."""

_RESULTS = ("metrics", "samples")  # timings are no other run's: a resumed one needs not have them

_LOCK_SECONDS = 2.0


class RunFolder:
    """The writer of a run folder; a context manager that records how the run ended."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock
        files = {stream: path / f"{stream}.jsonl" for stream in _RESULTS}
        self._hashes = {name: hash_start(file, file_size(file)) for name, file in files.items()}

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
        try:
            # The folder is new: a reader asking for the status may hold the lock, and briefly.
            lock = _acquire(path)
        except Timeout:
            raise _in_use(path) from None
        return cls(path, lock)._begin(config, environment)

    @classmethod
    def reopen(
        cls,
        path: Path,
        lock: FileLock,
        config: Group,
        environment: Mapping[str, object],
        *,
        streams: Mapping[str, int],
    ) -> Self:
        """Goes on with a run: what it wrote after a checkpoint, or all of it, is taken back.

        Args:
            path: The run folder.
            lock: Its lock, held by the caller (`hold_run`), who keeps it when the run ends.
            config: The configuration in force from here on.
            environment: Content of environment.json.
            streams: Length in bytes of each JSONL file at the checkpoint; of no file: from the
                beginning.
        """
        for stream in STREAMS:
            _cut(path / f"{stream}.jsonl", streams.get(stream, 0))
        for name in ("final", "adapter"):
            remove_folder(path / name)
        sweep(path)
        lock.acquire()  # once more: the end of the run lets go once
        return cls(path, lock)._begin(config, environment)

    @staticmethod
    def check_free(path: Path, key: str = "run.output", *, resumable: bool = False) -> None:
        """Refuses an existing path: a run never overwrites another.

        Args:
            path: The folder that is to be made.
            key: Configuration key to name.
            resumable: Whether the command could go on with a run that is there.

        Raises:
            InputError: The path exists.
        """
        if path.exists():
            remedy = "go on with --resume, or choose" if resumable else "choose"
            raise InputError(
                f"{key}: the folder must not exist yet, received {path}; {remedy} another name "
                f"with --output or remove it"
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
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        with (self.path / f"{stream}.jsonl").open("ab") as file:
            file.write(lines)
        if stream in self._hashes:
            self._hashes[stream].update(lines)

    def stream_sizes(self) -> dict[str, int]:
        """Returns the length in bytes of each JSONL file that a resumed run goes on with."""
        return {stream: file_size(self.path / f"{stream}.jsonl") for stream in STREAMS}

    def stream_digests(self) -> dict[str, str]:
        """Returns the blake2b hash of each JSONL file that is part of the run's result.

        It is of what this writer, and before it was made the file, wrote: no file is read.
        """
        return {stream: digest.hexdigest() for stream, digest in self._hashes.items()}

    def new_folder(self, name: str) -> AbstractContextManager[Path]:
        """Gives a folder to fill; it gets its name in one step, complete and on the disk."""
        return new_folder(self.path / name)

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Writes a JSON file in one step: readers see the old one or the new one."""
        write_json(self.path / name, content)

    def _begin(self, config: Group, environment: Mapping[str, object]) -> Self:
        with ExitStack() as stack:
            stack.push(self)  # what ends the run from here on is recorded
            self._write_status("running")
            write_atomically(self.path / "config.yaml", to_yaml(config))
            self.write_json("environment.json", environment)
            stack.pop_all()
        return self

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


@contextmanager
def hold_run(path: Path) -> Iterator[FileLock]:
    """Holds the lock of a run folder that exists, and writes nothing to it.

    Raises:
        InputError: Another process is writing the run, or it is no folder that can be written.
    """
    try:
        lock = _acquire(path)
    except Timeout:
        raise _in_use(path) from None
    except OSError as error:
        raise InputError(
            f"run.output: must be a run folder that can be written, received {path} "
            f"({error.strerror}); choose another with --output"
        ) from None
    try:
        yield lock
    finally:
        lock.release()


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file in one step; a non-finite number is refused."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _acquire(path: Path) -> FileLock:
    """Takes the lock of a run folder. A reader asking for the status holds it for an instant.

    Raises:
        Timeout: A writer holds it.
    """
    lock = FileLock(path / ".lock")
    lock.acquire(timeout=_LOCK_SECONDS)
    return lock


def _in_use(path: Path) -> InputError:
    return InputError(
        f"run.output: {path} is being written by another process; wait for it or choose another "
        f"folder with --output"
    )


def _cut(file: Path, length: int) -> None:
    """Takes back what was written to a file after `length` bytes."""
    if length == 0:
        file.unlink(missing_ok=True)
    elif file_size(file) > length:
        os.truncate(file, length)
