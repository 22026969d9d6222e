"""The inside of a worker process: one task, its log file, and a watch on the parent.

A worker outlives its parent by no more than an instant: the parent holds one end of a pipe, which
the kernel closes however the parent dies, `kill -9` included; a thread waits for just that.
"""

import io
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path

from abcrl import signals
from abcrl.config.errors import InputError, RunFailedError

from .tasks import Task

ORPHANED = 113
"""Exit code of a worker whose parent is gone; nobody is left to read it but `ps`."""
REASON_LENGTH = 1000
"""Longest failure reason, in characters: it has to fit into a pipe that nobody reads yet."""


@dataclass(frozen=True)
class Assignment:
    """What the parent hands to a worker.

    The call is pickled once more by itself, so that a function or an argument that cannot be
    rebuilt over here is a failure like any other, with its reason and its log.
    """

    call: bytes
    log: Path | None
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


def assign(task: Task) -> Assignment:
    """Returns the task in a form that can be sent to a worker.

    Raises:
        ValueError: The function or an argument cannot be pickled.
    """
    try:
        return Assignment(pickle.dumps((task.function, task.args)), task.log)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"task {task.key!r} must be a module-level function with picklable arguments: {error}"
        ) from error


Outcome = tuple[str | None, bool]
"""Why the call did not return (None: it did), and whether it refused its input."""


def work(assignment: Assignment, outcome: "connection.Connection[Outcome, None]") -> None:
    """Runs the call and sends its outcome."""
    _die_with_parent()
    try:
        try:
            _settle(assignment)
            signals.listen()
            function, args = pickle.loads(assignment.call)
            function(*args)
        finally:
            signals.stop_listening()  # the outcome is known, and must not be lost on its way
    except BaseException as error:
        if assignment.log is not None:
            with suppress(OSError):  # a full disk must not cost the reason as well
                _log(error)
        outcome.send((describe(error), isinstance(error, InputError)))
        sys.exit(1)
    outcome.send((None, False))


def describe(error: BaseException) -> str:
    """Returns one line that says what ended a task."""
    message = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    match error:
        case SystemExit():
            reason = f"sys.exit({message}) before the task was done"
        case KeyboardInterrupt():
            reason = "stopped by SIGTERM"
        case InputError() | RunFailedError() if message:
            reason = message
        case _:
            reason = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return reason[:REASON_LENGTH]


def _log(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write(f"{describe(error)}\n")
    else:
        traceback.print_exception(error)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(ORPHANED)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def _settle(assignment: Assignment) -> None:
    """Takes on the caller's folder and environment (a fork server keeps those it began with)."""
    os.environ.clear()
    os.environ.update(assignment.environment)
    os.chdir(assignment.folder)
    if assignment.log is None:
        return
    assignment.log.parent.mkdir(parents=True, exist_ok=True)
    with assignment.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
