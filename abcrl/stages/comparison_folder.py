"""The folder of a comparison: one writer at a time, and no trace of one that was refused."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from abcrl.config import InputError
from abcrl.storage import read_status


@contextmanager
def holding(folder: Path, runs: Sequence[Path]) -> Iterator[None]:
    """Makes the folder and holds its lock; what is refused before any run began leaves no trace.

    Args:
        folder: The comparison's folder; whoever gave it may keep files of their own there.
        runs: The folders of its runs.

    Raises:
        InputError: Another process holds it, or it cannot be written.
    """
    new = [path for path in (folder / ".lock", folder, *folder.parents) if not path.exists()]
    with _exclusive(folder):
        fresh = not (folder / "config.yaml").exists()
        try:
            yield
        except InputError:
            if fresh and all(read_status(run) is None for run in runs):
                _remove_traces(folder, new)
            raise


def _exclusive(folder: Path) -> AbstractContextManager[object]:
    """Makes the folder and takes its lock, which the returned context manager lets go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"output: {folder} is being written by another abcrl compare; wait for it or choose "
            f"another folder with --output"
        ) from None
    except OSError as error:
        raise InputError(
            f"output: the folder must be writable, received {folder} ({error.strerror}); choose "
            f"another with --output"
        ) from None


def _remove_traces(folder: Path, new: Sequence[Path]) -> None:
    """Removes what this call wrote and made: the folders of `new`, innermost first, if empty."""
    (folder / "config.yaml").unlink(missing_ok=True)
    shutil.rmtree(folder / "logs", ignore_errors=True)  # had it been there: no new comparison
    for path in new:
        with suppress(OSError):  # somebody keeps something there
            path.unlink() if path.name == ".lock" else path.rmdir()
