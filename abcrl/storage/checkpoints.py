"""Checkpoints: where a run stood after a step, to go on from there to the byte.

A folder `checkpoints/step-000040` of files with a manifest, checkpoint.json, which holds the
checksums of all of them, itself included. The files are tensors.safetensors, or what the library
that trains has saved. It is written beside its place, brought to the disk and renamed into it, so
one that was being written when the run was killed is not there; one that was damaged since is
recognised and passed over, and so is one that counts on rows of JSONL files which are missing or
others by now.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abcrl.config import InputError, RunFailedError

from .digests import file_size, hash_start
from .durable import draft_of, new_folder, remove_folder, sweep, sync, write_atomically

if TYPE_CHECKING:  # a comparison looks for checkpoints, and has no use for torch
    from torch import Tensor

FORMAT = 3

_TENSORS, _MANIFEST = "tensors.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood.

    Attributes:
        step: The last step whose update is in it.
        config: The run's configuration, as YAML.
        state: What JSON holds; finite numbers come back exactly.
        streams: Length in bytes of each JSONL file of the run, by its name without the ending.
        digests: blake2b hash of that much of the files that are part of the run's result.
        tensors: By name.
        folder: To be written: its files move into the checkpoint. Read: the checkpoint's own, where
            they are whole.
    """

    step: int
    config: str
    state: Mapping[str, Any]
    streams: Mapping[str, int]
    digests: Mapping[str, str]
    tensors: "Mapping[str, Tensor]" = field(default_factory=dict)
    folder: Path | None = None


class _UnusableError(Exception):
    """Why a checkpoint cannot be used."""


def write_checkpoint(run: Path, checkpoint: Checkpoint, *, keep_last: int) -> Path:
    """Writes a checkpoint, unless the step has one, and then removes all but the newest.

    The rows of the JSONL files that it counts on are on the disk before it is.

    Args:
        run: The run folder.
        checkpoint: What to write.
        keep_last: How many stay, this one included.

    Returns:
        The checkpoint's folder.

    Raises:
        RunFailedError: The disk does not take it; no part of it is there then.
    """
    place = checkpoint_place(run, checkpoint.step)
    with _refused_writes_named(place):
        if not place.is_dir():  # one that is there is whole, and of the same state
            for stream in checkpoint.streams:
                if (run / f"{stream}.jsonl").exists():
                    sync(run / f"{stream}.jsonl")
            _write(place, checkpoint)
            sync(run)
        for step in _steps(run)[:-keep_last]:
            remove_folder(checkpoint_place(run, step))
    return place


def read_checkpoint(run: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """Returns the newest checkpoint that can be used; None where there is none.

    Args:
        run: The run folder.
        tell: Is told of each newer one that cannot be used, and why.

    Raises:
        InputError: The newest was written by another version of this program.
    """
    for step in reversed(_steps(run)):
        place = checkpoint_place(run, step)
        try:
            return _read(run, place)
        except _UnusableError as reason:
            tell(f"checkpoint {place.name} cannot be used: {reason}")
    return None


@contextmanager
def drafting(run: Path) -> Iterator[Path]:
    """Yields a folder of the run for what is not whole yet; nothing is left of it after the block.

    A killed run leaves it, and `discard_checkpoints` removes it.
    """
    place = draft_of(run / "checkpoints" / "training")
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # there are checkpoints
            place.parent.rmdir()


def checkpoint_place(run: Path, step: int) -> Path:
    """Returns the folder of a step's checkpoint, whether it is there or not."""
    return run / "checkpoints" / f"step-{step:06}"


def newest_checkpoint(run: Path) -> Path | None:
    """Returns the folder of the newest checkpoint, usable or not; None where there is none."""
    steps = _steps(run)
    return checkpoint_place(run, steps[-1]) if steps else None


def last_checkpoint(path: Path) -> str:
    """Returns what ends the report of a failure; empty where there is no checkpoint."""
    newest = newest_checkpoint(path)
    return "" if newest is None else f"; its last checkpoint is {newest}"


def discard_checkpoints(run: Path, *, after: int = -1) -> None:
    """Removes the checkpoints of later steps, and what is left of unfinished ones."""
    for step in _steps(run):
        if step > after:
            remove_folder(checkpoint_place(run, step))
    sweep(run / "checkpoints")
    with suppress(OSError):  # it is not there, or not empty
        (run / "checkpoints").rmdir()


def replace_config(run: Path, config: str) -> None:
    """Has each checkpoint that is not damaged hold the same settings with other paths."""
    for step in _steps(run):
        manifest = checkpoint_place(run, step) / _MANIFEST
        try:
            content = _read_content(manifest)
        except _UnusableError:
            continue  # whoever goes on will say so
        write_atomically(manifest, _manifest({**content, "config": config}))


@contextmanager
def _refused_writes_named(place: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise unwritable(place, error) from error


def unwritable(place: Path, error: Exception) -> RunFailedError:
    """Returns the failure of a run whose checkpoint the disk does not take."""
    lines = str(error).splitlines() or [type(error).__name__]
    reason = (error.strerror if isinstance(error, OSError) else None) or lines[0]
    return RunFailedError(f"checkpoint {place} cannot be written: {reason}")


def _write(place: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    with new_folder(place) as draft:
        if checkpoint.folder is not None:
            for file in sorted(checkpoint.folder.iterdir()):
                file.rename(draft / file.name)
        if checkpoint.tensors:
            save_file(dict(checkpoint.tensors), draft / _TENSORS)
        content = {
            "format": FORMAT,
            "step": checkpoint.step,
            "config": checkpoint.config,
            "state": checkpoint.state,
            "streams": checkpoint.streams,
            "digests": checkpoint.digests,
            "files": {file.name: _hash_file(file) for file in sorted(draft.iterdir())},
        }
        (draft / _MANIFEST).write_text(_manifest(content), encoding="utf-8")


def _manifest(content: Mapping[str, Any]) -> str:
    whole = {**content, "checksum": _hash_content(content)}
    return json.dumps(whole, indent=1, allow_nan=False)


def _read(run: Path, place: Path) -> Checkpoint:
    content = _read_content(place / _MANIFEST)
    for stream, digest in content["digests"].items():
        file, length = run / f"{stream}.jsonl", content["streams"][stream]
        if length > file_size(file):
            raise _UnusableError(f"rows of {file.name} that it counts on are missing")
        if digest != hash_start(file, length).hexdigest():
            raise _UnusableError(f"{file.name} was changed")
    for name, digest in content["files"].items():
        try:
            found = _hash_file(place / name)
        except OSError as error:
            raise _UnusableError(f"{name} is damaged ({error})") from None
        if digest != found:
            raise _UnusableError(f"{name} is damaged")
    names = ("step", "config", "state", "streams", "digests")
    known = {name: content[name] for name in names}
    return Checkpoint(**known, tensors=_read_tensors(place), folder=place)


def _read_tensors(place: Path) -> "dict[str, Tensor]":
    if not (place / _TENSORS).exists():
        return {}
    from safetensors.torch import load_file

    return load_file(place / _TENSORS)


def _read_content(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        raise _UnusableError(f"{file.name} is damaged") from None
    if checksum != _hash_content(content):
        raise _UnusableError(f"{file.name} is damaged")
    if content["format"] != FORMAT:  # no reason to pass over it: it may be all that is wanted
        raise InputError(
            f"run.output: the checkpoint must be of format {FORMAT}, received {file.parent} of "
            f"format {content['format']}; go on with the version of abcrl that wrote it"
        )
    return content


def _steps(run: Path) -> list[int]:
    """The steps of the checkpoints that are there, whole or damaged, in their order."""
    found = (path for path in (run / "checkpoints").glob("step-*") if path.is_dir())
    names = [path.name.removeprefix("step-") for path in found]
    return sorted(int(name) for name in names if name.isdecimal())


def _hash_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()


def _hash_content(content: Mapping[str, object]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode()).hexdigest()
