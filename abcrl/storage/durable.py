"""Files and folders that are there whole or not at all, whatever kills the writer.

What is being written, or removed, has a name that begins with a dot and ends in `.tmp`; a writer
that was killed leaves it, and whoever goes on sweeps it away.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file by renaming a complete one, which the disk holds, into place."""
    draft = draft_of(path)
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)  # there is one only when this was interrupted


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder; what the block has written to it is on the disk under `path` then.

    Args:
        path: The name it gets; nothing may be there.
    """
    draft = draft_of(path)
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in draft.rglob("*"):
            sync(file)
        sync(draft)
        draft.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder, if there is one; nobody finds a part of it under its name."""
    if path.exists():
        waste = draft_of(path)
        path.rename(waste)
        shutil.rmtree(waste)


def sweep(folder: Path) -> None:
    """Removes what a killed writer left unfinished in a folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync(path: Path) -> None:
    """Has the disk hold what was written to a file, or the names in a folder."""
    if path.is_dir() and os.name != "posix":
        return  # Windows opens no folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def draft_of(path: Path) -> Path:
    """Returns what a file or folder is called until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
