"""Runs tasks in local processes, a few at a time: one fresh process for each task.

Processes come from a fork server where the platform has one. Importing torch and transformers
costs 3 to 5 seconds, which a spawned process pays every time; the server imports them once and
each worker is forked from it. A worker is as clean as a spawned one: the server has imported
modules and done nothing else, so no state of the caller, of another task, of a random generator or
of a GPU reaches it. The result of a task therefore depends neither on `jobs` nor on its neighbours.
(Forking the caller itself would copy its threads' locks and its GPU context: never that.)
"""

import multiprocessing
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, context
from multiprocessing.process import BaseProcess

from abcrl.config.errors import RunFailedError

from .tasks import GridProgress, Task, TaskResult
from .worker import Assignment, assign, work

POLL_SECONDS = 0.25
"""The watcher is called at least about this often."""

_Context = context.ForkServerContext | context.SpawnContext


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int,
    preload: Sequence[str] = (),
    watch: Callable[[GridProgress], None] | None = None,
    grace_seconds: float = 15.0,
) -> list[TaskResult]:
    """Runs every task in its own process and returns how each ended, in the order of `tasks`.

    A task that fails, by an exception, `sys.exit`, a signal or `os._exit`, fails alone: the others
    run on. When this call is left early, by Ctrl-C or by an exception of the watcher, the workers
    are stopped (SIGTERM, after the grace period SIGKILL) and joined before the exception goes on.
    Workers ignore the terminal's Ctrl-C and end with the parent, even on `kill -9`.

    Args:
        tasks: Started in this order.
        jobs: How many run at the same time, at least 1.
        preload: Modules that the fork server imports once for all workers. They must do nothing
            at import that a fork cannot carry over (threads, a GPU context); one that is missing
            is skipped. In force from the first grid of the calling process on.
        watch: Called in this thread about four times a second and after every change.
        grace_seconds: Time that workers have after SIGTERM, say to write a checkpoint.

    Raises:
        ValueError: jobs below 1, a repeated key, a call that cannot be sent.
        RunFailedError: No process can be started, say because a preload module fails at import.
    """
    _require_sound(tasks, jobs)
    waiting = deque((task.key, assign(task)) for task in tasks)
    running: list[_Worker] = []
    results: list[TaskResult] = []

    def report() -> None:
        if watch is not None:
            under_way = tuple(worker.key for worker in running)
            watch(GridProgress(tuple(key for key, _ in waiting), under_way, tuple(results)))

    started_from = _choose_context(preload)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Worker.start(started_from, *waiting.popleft()))
            report()
            connection.wait([worker.process.sentinel for worker in running], POLL_SECONDS)
            for worker in [worker for worker in running if not worker.process.is_alive()]:
                running.remove(worker)
                results.append(worker.finish())
        report()
    finally:
        _stop(running, grace_seconds)
    by_key = {result.key: result for result in results}
    return [by_key[task.key] for task in tasks]


@dataclass(frozen=True)
class _Worker:
    """A process under way, seen from the parent."""

    key: str
    process: BaseProcess
    outcome: "connection.Connection[None, str | None]"
    started: float

    @classmethod
    def start(cls, started_from: _Context, key: str, assignment: Assignment) -> "_Worker":
        outcome, sender = started_from.Pipe(duplex=False)
        # Not a daemon: data loaders inside a task may start processes of their own.
        process = started_from.Process(target=work, args=(assignment, sender), name=key)
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            outcome.close()
            raise RunFailedError(
                f"no process for task {key!r}: the fork server died, most likely while importing "
                "one of the preload modules; its own message is above"
            ) from error
        except BaseException:
            outcome.close()
            raise
        finally:
            sender.close()
        return cls(key, process, outcome, time.monotonic())

    def finish(self) -> TaskResult:
        """Returns how the ended process ended, and lets go of it."""
        failure = self._read_outcome()
        self.close()
        return TaskResult(self.key, failure, time.monotonic() - self.started)

    def close(self) -> None:
        self.outcome.close()
        self.process.close()

    def _read_outcome(self) -> str | None:
        try:
            # A process that the task left behind may hold the other end: never wait for it.
            if self.outcome.poll():
                return self.outcome.recv()
        except (EOFError, OSError):
            pass
        return _describe_exit(self.process.exitcode)


def _describe_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code} before the task was done"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{hint}"


def _stop(workers: Collection[_Worker], grace_seconds: float) -> None:
    deadline = time.monotonic() + grace_seconds
    for worker in workers:
        worker.process.terminate()
    try:
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:  # also when a second Ctrl-C cuts the grace period short
        for worker in workers:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.close()


def _choose_context(preload: Sequence[str]) -> _Context:
    # macOS has a fork server too, but its system frameworks do not survive a fork.
    available = multiprocessing.get_all_start_methods()
    if "forkserver" not in available or sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver  # absent on Windows

    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([work.__module__, *preload])
    with _interrupts_ignored():
        # The server and its children inherit this: none of them prints a KeyboardInterrupt, not
        # even while it is still importing.
        forkserver.ensure_running()
    return server


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may touch signals
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)


def _require_sound(tasks: Sequence[Task], jobs: int) -> None:
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, received {jobs}")
    repeated = [key for key, count in Counter(task.key for task in tasks).items() if count > 1]
    if repeated:
        raise ValueError(f"tasks must have different keys, received {repeated[0]!r} twice")
