"""Checkpoints: where a run stood after a step, to go on from there to the byte.

A folder `checkpoints/step-000040` of two files: tensors.safetensors, and checkpoint.json with
everything else, the checksums of both included. Nothing in them is code. It is written beside its
place, brought to the disk and renamed into it, so one that was being written when the run was
killed is not there; one that was damaged since is recognised and passed over, and so is one that
counts on rows of JSONL files which are missing or others by now.

No random state is in it: every draw of a run follows from its seed and the step.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abcrl.config import InputError, RunFailedError

from .digests import file_size, hash_start
from .durable import new_folder, remove_folder, sweep, sync

if TYPE_CHECKING:  # a comparison looks for checkpoints, and has no use for torch
    from torch import Tensor

FORMAT = 2

_TENSORS, _REST = "tensors.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood.

    Attributes:
        step: The last step whose update is in it.
        config: The run's configuration, as YAML.
        state: What JSON holds; finite numbers come back exactly.
        tensors: By name.
        streams: Length in bytes of each JSONL file of the run, by its name without the ending.
        digests: blake2b hash of that much of the files that are part of the run's result.
    """

    step: int
    config: str
    state: Mapping[str, Any]
    tensors: "Mapping[str, Tensor]"
    streams: Mapping[str, int]
    digests: Mapping[str, str]


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
    place = _place(run, checkpoint.step)
    with _refused_writes_named(place):
        if not place.is_dir():  # one that is there is whole, and of the same state
            for stream in checkpoint.streams:
                if (run / f"{stream}.jsonl").exists():
                    sync(run / f"{stream}.jsonl")
            _write(place, checkpoint)
            sync(run)
        for step in _steps(run)[:-keep_last]:
            remove_folder(_place(run, step))
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
        place = _place(run, step)
        try:
            return _read(run, place)
        except _UnusableError as reason:
            tell(f"checkpoint {place.name} cannot be used: {reason}")
    return None


def newest_checkpoint(run: Path) -> Path | None:
    """Returns the folder of the newest checkpoint, usable or not; None where there is none."""
    steps = _steps(run)
    return _place(run, steps[-1]) if steps else None


def discard_checkpoints(run: Path, *, after: int = -1) -> None:
    """Removes the checkpoints of later steps, and what is left of unfinished ones."""
    for step in _steps(run):
        if step > after:
            remove_folder(_place(run, step))
    sweep(run / "checkpoints")
    with suppress(OSError):  # it is not there, or not empty
        (run / "checkpoints").rmdir()


@contextmanager
def _refused_writes_named(place: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise RunFailedError(f"checkpoint {place} cannot be written: {reason}") from error


def _write(place: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    with new_folder(place) as draft:
        save_file(dict(checkpoint.tensors), draft / _TENSORS)
        content = {
            "format": FORMAT,
            "step": checkpoint.step,
            "config": checkpoint.config,
            "state": checkpoint.state,
            "streams": checkpoint.streams,
            "digests": checkpoint.digests,
            _TENSORS: _hash_file(draft / _TENSORS),
        }
        rest = {**content, "checksum": _hash_content(content)}
        (draft / _REST).write_text(json.dumps(rest, indent=1, allow_nan=False), encoding="utf-8")


def _read(run: Path, place: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = _read_content(place / _REST)
    for stream, digest in content["digests"].items():
        file, length = run / f"{stream}.jsonl", content["streams"][stream]
        if length > file_size(file):
            raise _UnusableError(f"rows of {file.name} that it counts on are missing")
        if digest != hash_start(file, length).hexdigest():
            raise _UnusableError(f"{file.name} was changed")
    try:
        if _hash_file(place / _TENSORS) != content[_TENSORS]:
            raise _UnusableError(f"{_TENSORS} is damaged")
        tensors = load_file(place / _TENSORS)
    except (OSError, SafetensorError) as error:
        raise _UnusableError(f"{_TENSORS} is damaged ({error})") from None
    names = ("step", "config", "state", "streams", "digests")
    return Checkpoint(**{name: content[name] for name in names}, tensors=tensors)


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


def _place(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06}"


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
