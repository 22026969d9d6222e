"""Files and folders in parts of bounded size, for their way to another machine."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from abcrl.storage.durable import draft_of

PART_BYTES = 2**25
"""Longest part: no machine has to hold a whole model in memory a second time."""


@dataclass(frozen=True)
class Part:
    """Some bytes of one file."""

    name: str
    """Path of the file within its folder, with forward slashes; "" for a file by itself."""
    offset: int
    """Where in the file they begin; whatever is there beyond them is cut off."""
    data: bytes


def read_parts(path: Path) -> Iterator[Part]:
    """Yields a file, or every file of a folder by name, in parts.

    Locks and drafts, whose names begin with a dot, and empty folders are left out; a link counts as
    what it leads to.
    """
    for file in _files(path):
        name = "" if file == path else file.relative_to(path).as_posix()
        offset = 0
        with file.open("rb") as opened:
            while True:
                data = opened.read(PART_BYTES)
                if data or offset == 0:
                    yield Part(name, offset, data)
                offset += len(data)
                if len(data) < PART_BYTES:
                    break


def write_part(place: Path, part: Part) -> None:
    """Puts a part where it belongs, in a file or folder that is being put together.

    Raises:
        ValueError: The part's name leads out of the folder.
    """
    if part.name.startswith("/") or ".." in Path(part.name).parts:
        raise ValueError(f"a file of a folder must lie in it, received {part.name!r}")
    file = place / part.name if part.name else place
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.truncate(part.offset)
        opened.seek(part.offset)
        opened.write(part.data)


@dataclass(frozen=True)
class Parcel:
    """A file or folder on its way: its parts are stored where every machine can fetch them."""

    name: str
    digest: str
    parts: tuple[Any, ...]
    """What `store` has returned for each part."""


def pack(path: Path, store: Callable[[Part], Any]) -> Parcel:
    """Stores every part of a file or folder, once.

    Args:
        path: The file or folder.
        store: Takes a part and returns what it can be fetched with.
    """
    digest = hashlib.blake2b(digest_size=16)
    parts = []
    for part in read_parts(path):
        digest.update(f"{part.name}\n{part.offset}\n{len(part.data)}\n".encode())
        digest.update(part.data)
        parts.append(store(part))
    return Parcel(path.name, digest.hexdigest(), tuple(parts))


def unpack(parcel: Parcel, place: Path, fetch: Callable[[Any], Part]) -> None:
    """Writes the file or folder to `place`, where nothing is yet."""
    for part in parcel.parts:
        write_part(place, fetch(part))


def unpack_once(parcel: Parcel, shelf: Path, fetch: Callable[[Any], Part]) -> Path:
    """Returns where a parcel's content lies on a shelf, which other processes use at the same time.

    It has the parcel's name, in a folder that is named by its content.
    """
    holder = shelf / parcel.digest
    shelf.mkdir(parents=True, exist_ok=True)
    with FileLock(shelf / f".{parcel.digest}.lock"):
        if not holder.exists():
            draft = draft_of(holder)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            unpack(parcel, draft / parcel.name, fetch)
            draft.rename(holder)
    return holder / parcel.name


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    inside = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in inside if not _is_hidden(file.relative_to(path)))


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
