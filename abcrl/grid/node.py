"""The far side of a Ray cluster: one task on a node, in a process as the local engine starts it.

What the task reads is unpacked there, what it writes is sent back. Knows no Ray but for what it is
handed: how to fetch a part, and how to wait.
"""

import hashlib
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abcrl.storage import describe_code
from abcrl.storage.moving import replace_text

from .executor import run_tasks
from .shipping import Parcel, Part, read_parts, unpack, unpack_once
from .tasks import GridProgress, Task, TaskResult

FOLLOW_SECONDS = 2.0
"""How often what a task writes is sent while it runs."""
SCRATCH_PREFIX = "abcrl-ray-"
_LOOK_SECONDS = 0.2
_ABANDONED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Order:
    """All that a node needs to run a task."""

    task: Task
    """With the paths of the machine that sends it."""
    reads: tuple[tuple[Path, Parcel], ...]
    """What it reads, and where that lies on the machine that sends it."""
    written: Parcel | None
    """The run folder that it goes on from."""
    code: str
    """What `describe_code` says where it comes from."""
    command: tuple[str, ...]
    """Words of the command that it is part of."""
    preload: tuple[str, ...]
    grace_seconds: float
    scratch: str
    """Name of the folder, under the node's folder for temporary files, of all tasks of one call."""


@dataclass(frozen=True)
class Begun:
    """A node has the task, or refuses it because it has other code than the sender."""

    node: str
    code: str
    accepted: bool


@dataclass(frozen=True)
class News:
    """What has come to a followed file, or to the log."""

    part: Part
    log: bool


@dataclass(frozen=True)
class Ended:
    """The task is over, and all that it wrote was sent; None: it was stopped before it began."""

    result: TaskResult | None


Message = Begun | News | Part | Ended
"""What a node sends, in the order Begun, News, Part of the run folder, Ended."""


def run_order(
    order: Order, fetch: Callable[[Any], Part], asked_to_stop: Callable[[], bool]
) -> Iterator[Message]:
    """Runs a task on this machine, and yields what is to be sent back.

    Args:
        order: The task.
        fetch: Returns a part of a parcel.
        asked_to_stop: Whether the task is to stop, to write how far it came, and to come back.
    """
    code = describe_code()
    yield Begun(socket.gethostname(), code, accepted=code == order.code)
    if code != order.code:
        return
    scratch = scratch_folder(order.scratch)
    scratch.mkdir(exist_ok=True)
    scratch.touch()
    _remove_abandoned(scratch.parent)
    place = Path(tempfile.mkdtemp(dir=scratch))
    try:
        _take_on_command(order.command)
        yield from _Job(order, scratch / "inputs", place, fetch).run(asked_to_stop)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def scratch_folder(name: str) -> Path:
    """Returns where all that a call's tasks unpack and write on this machine lies."""
    return Path(tempfile.gettempdir()) / name


def _remove_abandoned(folder: Path) -> None:
    """Removes what calls have left that were killed; one at work touches its folder."""
    for scratch in folder.glob(f"{SCRATCH_PREFIX}*"):
        with suppress(OSError):  # another is removing it
            if time.time() - scratch.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(scratch)


def _take_on_command(words: tuple[str, ...]) -> None:
    """Workers are children of the command, not of Ray's program, whose imports cost a second."""
    sys.argv = list(words)
    vars(sys.modules["__main__"]).pop("__file__", None)


class _Job:
    """A task whose files lie under `place`, and what is sent of them."""

    def __init__(
        self, order: Order, shelf: Path, place: Path, fetch: Callable[[Any], Part]
    ) -> None:
        self._order = order
        self._here = {path: unpack_once(parcel, shelf, fetch) for path, parcel in order.reads}
        task, files = order.task, order.task.files
        self._follower = _Follower(place / "log.txt" if task.log else None, self._to_sender)
        self._run = None if files is None else place / "run" / files.writes.name
        if files is not None and self._run is not None:
            self._here[files.writes] = self._run
            if order.written is not None:
                unpack(order.written, self._run, fetch)
            args = files.relocate(task.args, self._here)
            files.restate(self._run, args)
            self._follower.add(self._run, files.follow)
            task = replace(task, args=args)
        self._task = replace(task, log=self._follower.log)

    def run(self, asked_to_stop: Callable[[], bool]) -> Iterator[Message]:
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self._compute, stop)
            try:
                yield from self._follow(running, stop, asked_to_stop)
            finally:
                stop.set()
        result = running.result()
        yield from self._follower.news()
        files = self._order.task.files
        if files is not None and self._run is not None and self._run.exists():
            files.restate(self._run, self._order.task.args)
            for name in files.follow:
                if name.endswith(".json"):
                    replace_text(self._run / name, str(self._run), str(files.writes))
            yield from read_parts(self._run)
        if result is not None and result.failure is not None:
            result = replace(result, failure=self._to_sender(result.failure))
        yield Ended(result)

    def _compute(self, stop: threading.Event) -> TaskResult | None:
        def watch(_: GridProgress) -> None:
            if stop.is_set():
                raise KeyboardInterrupt

        try:
            [result] = run_tasks(
                [self._task],
                jobs=1,
                preload=self._order.preload,
                watch=watch,
                grace_seconds=self._order.grace_seconds,
            )
        except KeyboardInterrupt:
            return None
        return result

    def _follow(
        self,
        running: "Future[TaskResult | None]",
        stop: threading.Event,
        asked_to_stop: Callable[[], bool],
    ) -> Iterator[News]:
        sent = time.monotonic()
        while not running.done():
            if asked_to_stop():
                stop.set()
            if time.monotonic() >= sent + FOLLOW_SECONDS:
                yield from self._follower.news()
                scratch_folder(self._order.scratch).touch()
                sent = time.monotonic()
            time.sleep(_LOOK_SECONDS)

    def _to_sender(self, text: str) -> str:
        """Names the files by the paths that they have where the task comes from."""
        for path, here in self._here.items():
            text = text.replace(str(here), str(path))
        return text


class _Follower:
    """Files of a task that is under way, as far as they were sent."""

    def __init__(self, log: Path | None, translate: Callable[[str], str]) -> None:
        self.log = log
        self._translate = translate
        self._logged = 0
        self._folder = Path()
        self._names: tuple[str, ...] = ()
        self._sent: dict[str, int] = {}
        self._digests: dict[str, bytes] = {}

    def add(self, folder: Path, names: tuple[str, ...]) -> None:
        self._folder, self._names = folder, names

    def news(self) -> Iterator[News]:
        """Yields what was written since the last time; rows and lines that are whole."""
        for name in self._names:
            file = self._folder / name
            if file.exists():
                yield from self._rows(file) if name.endswith(".jsonl") else self._content(file)
        if self.log is not None and self.log.exists():
            lines = _whole_lines(self.log, self._logged)
            if lines:
                text = self._translate(lines.decode(errors="replace"))
                yield News(Part("", 0, text.encode()), log=True)
            self._logged += len(lines)

    def _rows(self, file: Path) -> Iterator[News]:
        begin = self._sent.get(file.name, 0)
        if file.stat().st_size < begin:  # a run that goes on took back what it had written
            begin = 0
        rows = _whole_lines(file, begin)
        if rows:
            yield News(Part(file.name, begin, rows), log=False)
        self._sent[file.name] = begin + len(rows)

    def _content(self, file: Path) -> Iterator[News]:
        data = file.read_bytes()
        digest = hashlib.blake2b(data).digest()
        if digest != self._digests.get(file.name):
            yield News(Part(file.name, 0, data), log=False)
        self._digests[file.name] = digest


def _whole_lines(file: Path, begin: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(begin)
        data = opened.read()
    return data[: data.rfind(b"\n") + 1]
