"""Runs tasks in local processes, a few at a time: one fresh process for each task."""

import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import connection, context
from multiprocessing.process import BaseProcess

from abcrl import signals
from abcrl.config.errors import RunFailedError

from .server import Context, choose_context, end_server
from .tasks import GridProgress, Task, TaskResult, require_sound
from .worker import Assignment, Outcome, assign, work

POLL_SECONDS = 0.25
"""The watcher is called at least about this often."""
HURRIED_SECONDS = 1.0
"""What a second Ctrl-C leaves of the grace period; wrappers that pass signals on send it twice."""


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
    are stopped and joined before the exception goes on: by SIGTERM, which the task meets as a
    KeyboardInterrupt, and after the grace period, which a second Ctrl-C cuts short, by SIGKILL.
    Workers ignore the terminal's Ctrl-C and end with the parent, even on `kill -9`.

    Args:
        tasks: Started in this order.
        jobs: How many run at the same time, at least 1.
        preload: Modules that the fork server imports once for all workers. They must do nothing
            at import that a fork cannot carry over (threads, a GPU context); one that is missing
            is skipped. In force from the first grid of the calling process on.
        watch: Called in this thread about four times a second and after every change.
        grace_seconds: Time that workers have after SIGTERM, to come back from one long operation
            and to write how they ended.

    Raises:
        ValueError: jobs below 1, a repeated key, a call that cannot be sent.
        RunFailedError: No process can be started, say because a preload module fails at import.
    """
    require_sound(tasks, jobs)
    waiting = deque((task.key, assign(task)) for task in tasks)
    running: list[_Worker] = []
    results: list[TaskResult] = []

    def report() -> None:
        if watch is not None:
            under_way = tuple(worker.key for worker in running)
            watch(GridProgress(tuple(key for key, _ in waiting), under_way, tuple(results)))

    try:
        started_from = choose_context([work.__module__, *preload])
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Worker.start(started_from, *waiting.popleft()))
            report()
            connection.wait([worker.process.sentinel for worker in running], POLL_SECONDS)
            for worker in [worker for worker in running if not worker.process.is_alive()]:
                running.remove(worker)
                results.append(worker.finish())
        report()
    except KeyboardInterrupt:
        if not running:
            end_server()
        raise
    finally:
        _stop(running, grace_seconds)
    by_key = {result.key: result for result in results}
    return [by_key[task.key] for task in tasks]


@dataclass(frozen=True)
class _Worker:
    """A process under way, seen from the parent."""

    key: str
    process: BaseProcess
    outcome: "connection.Connection[None, Outcome]"
    started: float

    @classmethod
    def start(cls, started_from: Context, key: str, assignment: Assignment) -> "_Worker":
        outcome, sender = started_from.Pipe(duplex=False)
        # Not a daemon: data loaders inside a task may start processes of their own.
        process = started_from.Process(target=work, args=(assignment, sender), name=key)
        # A spawned process prints no KeyboardInterrupt while it imports; SIGTERM just ends it then.
        spawned = isinstance(started_from, context.SpawnContext)
        try:
            with signals.blocked(signals.FROM_TERMINAL) if spawned else nullcontext():
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
        failure, refused = self._read_outcome()
        self.close()
        return TaskResult(self.key, failure, refused, time.monotonic() - self.started)

    def close(self) -> None:
        self.outcome.close()
        self.process.close()

    def _read_outcome(self) -> Outcome:
        try:
            # A process that the task left behind may hold the other end: never wait for it.
            if self.outcome.poll():
                return self.outcome.recv()
        except (EOFError, OSError):
            pass
        return _describe_exit(self.process.exitcode), False


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
    """Ends and joins the workers; a Ctrl-C to this process cuts the grace period short."""
    begun = time.monotonic()
    alive = list(workers)
    try:
        with signals.held_back() as arrived:
            while alive and time.monotonic() < begun + grace_seconds:
                for worker in alive:  # again and again: a library may swallow KeyboardInterrupt
                    worker.process.terminate()
                connection.wait([worker.process.sentinel for worker in alive], POLL_SECONDS)
                alive = [worker for worker in alive if worker.process.is_alive()]
                if signal.SIGINT in arrived:
                    grace_seconds = min(grace_seconds, HURRIED_SECONDS)
            for worker in alive:
                worker.process.kill()
                worker.process.join()
    finally:
        for worker in workers:
            worker.close()
