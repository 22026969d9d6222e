"""Runs tasks on a Ray cluster: the far side of each is `abcrl.grid.node`.

A node that goes away takes its tasks with it: they run again on another, from what was here before
they began. So nothing that a task does on a node lasts until it has come back whole.
"""

import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abcrl import signals
from abcrl.config.errors import InputError, RunFailedError
from abcrl.storage import describe_code

from .cluster import Needs, fit, load_ray, undisturbed
from .executor import HURRIED_SECONDS, POLL_SECONDS
from .local_copy import LocalCopy
from .node import SCRATCH_PREFIX, Begun, Ended, Message, News, Order
from .ray_side import Stop, clear, on_node, work
from .shipping import Parcel, Part, pack
from .tasks import GridProgress, Task, TaskResult, require_sound
from .worker import assign, describe

MOST_CRASHES = 3
"""A task whose node stays but cannot run it to its end, for want of memory or disk, is sent so
often."""
_PATIENCE_SECONDS = 15.0
_PARTS_AHEAD = 4


def run_tasks_on_ray(
    tasks: Sequence[Task],
    *,
    jobs: int | None,
    needs: Needs = Needs(),  # noqa: B008 - frozen
    preload: Sequence[str] = (),
    watch: Callable[[GridProgress], None] | None = None,
    grace_seconds: float = 15.0,
) -> list[TaskResult]:
    """Runs every task on a node of the connected cluster (see `connected`), as `run_tasks` here.

    What tasks read goes to the nodes once per call, what they write comes back: while they run, the
    files that they are followed by, and at the end the whole run folder. When this call is left
    early, tasks are stopped as `run_tasks` stops them, and what they have written comes back first.

    Args:
        tasks: Sent in this order; `files` tells what they read and write.
        jobs: How many are sent at the same time, at least 1; None: all, and the cluster decides.
        needs: What each takes of its node.
        preload: See `run_tasks`.
        watch: Likewise.
        grace_seconds: Time that a task has to end when it is stopped; what it has written may then
            take its time to come back, as long as something comes.

    Raises:
        ValueError: jobs below 1, a repeated key, a call that cannot be sent.
        InputError: No node can take the tasks, or one runs another abcrl than this process.
        RunFailedError: A node cannot run tasks at all.
    """
    require_sound(tasks, 1 if jobs is None else jobs)
    for task in tasks:
        assign(task)
    grid = _Grid(tasks, _Terms(fit(needs), tuple(preload), grace_seconds), watch)
    try:
        grid.run(len(tasks) if jobs is None else jobs)
    finally:
        with undisturbed():
            grid.end()
    by_key = {result.key: result for result in grid.results}
    return [by_key[task.key] for task in tasks]


@dataclass(frozen=True)
class _Terms:
    """What all tasks of a call are sent with."""

    options: dict[str, Any]
    preload: tuple[str, ...]
    grace_seconds: float


@dataclass
class _Sent:
    """A task on its way or at work, and the run folder here."""

    task: Task
    copy: LocalCopy
    messages: Any
    crashes: int = 0
    node: str | None = None


class _Grid:
    """Tasks that wait, are at a node, or have ended."""

    def __init__(
        self, tasks: Sequence[Task], terms: _Terms, watch: Callable[[GridProgress], None] | None
    ) -> None:
        self._ray: Any = load_ray()
        self._terms = terms
        self._watch = watch
        self._waiting = deque((task, 0) for task in tasks)
        self._sent: list[_Sent] = []
        self.results: list[TaskResult] = []
        self._scratch = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
        self._reported: tuple[float, object] = (0.0, None)
        self._parcels: dict[Path, Parcel] = {}
        self._runs: dict[str, Parcel | None] = {}
        here = on_node(self._ray.get_runtime_context().get_node_id())
        self._stop = self._ray.remote(Stop).options(num_cpus=0, **here).remote()

    def run(self, jobs: int) -> None:
        """Sends tasks, at most so many at a time, until all have ended."""
        while self._waiting or self._sent:
            while self._waiting and len(self._sent) < jobs:
                self._send(*self._waiting.popleft())
            self._report()
            self._receive(POLL_SECONDS)
        self._report()

    def end(self) -> None:
        """Stops what is under way, takes what comes back, and leaves nothing on the nodes."""
        try:
            if self._sent:
                self._stop_sent()
            self._clear_nodes()
        finally:
            for sent in self._sent:
                sent.copy.close()
            self._ray.kill(self._stop)

    def _send(self, task: Task, crashes: int) -> None:
        order = Order(
            task=task,
            reads=tuple(self._pack_inputs(task)),
            written=self._pack_run(task),
            code=describe_code(),
            command=tuple(sys.argv),
            preload=self._terms.preload,
            grace_seconds=self._terms.grace_seconds,
            scratch=self._scratch,
        )
        remote = self._ray.remote(work).options(
            name=task.key,
            max_retries=0,  # a second try must not begin in the middle of the messages
            _generator_backpressure_num_objects=_PARTS_AHEAD,
            **self._terms.options,
        )
        self._sent.append(_Sent(task, LocalCopy(task), remote.remote(order, self._stop), crashes))

    def _pack_inputs(self, task: Task) -> Iterator[tuple[Path, Parcel]]:
        for path in () if task.files is None else task.files.reads:
            if path not in self._parcels and path.exists():
                self._parcels[path] = pack(path, self._ray.put)
            if path in self._parcels:
                yield path, self._parcels[path]

    def _pack_run(self, task: Task) -> Parcel | None:
        """What the run folder holds when the task is first sent; later, it follows the task."""
        if task.key not in self._runs:
            there = task.files is not None and task.files.writes.exists()
            parcel = pack(task.files.writes, self._ray.put) if there and task.files else None
            self._runs[task.key] = parcel
        return self._runs[task.key]

    def _report(self) -> None:
        if self._watch is None:
            return
        coming = [sent.task.key for sent in self._sent if sent.node is None]
        coming += [task.key for task, _ in self._waiting]
        running = [sent.task.key for sent in self._sent if sent.node is not None]
        progress = GridProgress(tuple(coming), tuple(running), tuple(self.results))
        seconds, known = self._reported
        # Messages may come in crowds, and whoever watches reads files.
        if progress != known or time.monotonic() >= seconds + POLL_SECONDS:
            self._watch(progress)
            self._reported = (time.monotonic(), progress)

    def _receive(self, seconds: float) -> bool:
        """Takes the messages that are there, at most one of each task; whether there was one."""
        by_messages = {sent.messages: sent for sent in self._sent}
        found, _ = self._ray.wait(list(by_messages), timeout=seconds)
        if found:
            found, _ = self._ray.wait(
                list(by_messages), num_returns=len(by_messages), timeout=0.001
            )
        with signals.held_back():  # a part that is lost on its way here would be missing for good
            for messages in found:
                self._take(by_messages[messages])
        return bool(found)

    def _take(self, sent: _Sent) -> None:
        try:
            message: Message = self._ray.get(next(sent.messages))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):  # a full or broken disk is that node's alone
                self._lose(sent, error.cause)
                return
            raise RunFailedError(
                f"{sent.task.key}: the task cannot be run on {sent.node or 'its node'}: "
                f"{_last_line(error.cause or error)}; is the same abcrl installed on every node?"
            ) from None
        except (StopIteration, self._ray.exceptions.RayError) as error:
            self._lose(sent, error)
            return
        if isinstance(message, Begun):
            self._begin(sent, message)
        elif isinstance(message, News):
            sent.copy.follow(message)
        elif isinstance(message, Part):
            sent.copy.receive(message)
        else:
            self._finish(sent, message)

    def _begin(self, sent: _Sent, message: Begun) -> None:
        sent.node = message.node
        sent.copy.log(b"")  # there from the beginning, as a local worker's
        if not message.accepted:
            raise InputError(
                f"grid.engine: every node must run the abcrl of this machine, {describe_code()}, "
                f"received node {message.node} with {message.code}; install the same there"
            )

    def _finish(self, sent: _Sent, message: Ended) -> None:
        self._sent.remove(sent)
        sent.copy.complete()
        self._runs.pop(sent.task.key, None)
        if message.result is not None:
            self.results.append(message.result)

    def _lose(self, sent: _Sent, error: BaseException) -> None:
        """The task is gone with its node or its worker there; another gets it."""
        self._sent.remove(sent)
        sent.copy.close()
        node = sent.node or "a node"
        crashes = sent.crashes + (not isinstance(error, self._ray.exceptions.NodeDiedError))
        reason = describe(error)
        if crashes >= MOST_CRASHES:
            failure = f"could not be run to its end {crashes} times, last on {node}: {reason}"
            self.results.append(TaskResult(sent.task.key, failure, refused=False, seconds=0.0))
            return
        sent.copy.log(f"lost with {node}, and sent again: {reason}\n".encode())
        self._waiting.appendleft((sent.task, crashes))

    def _stop_sent(self) -> None:
        for sent in [sent for sent in self._sent if sent.node is None]:
            self._ray.cancel(sent.messages, force=True)
            self._sent.remove(sent)
        self._stop.ask.remote()
        patience = self._terms.grace_seconds + _PATIENCE_SECONDS
        heard = time.monotonic()
        with signals.held_back() as arrived:
            while self._sent and time.monotonic() < heard + patience:
                # What ends this call is known, and is not what a task meets on its way back.
                with suppress(InputError, RunFailedError, OSError):
                    if self._receive(POLL_SECONDS):
                        heard = time.monotonic()
                if signal.SIGINT in arrived:
                    patience = min(patience, HURRIED_SECONDS)
            for sent in self._sent:
                self._ray.cancel(sent.messages, force=True)

    def _clear_nodes(self) -> None:
        """Removes what the call has left in the nodes' folders for temporary files."""
        nodes = [on_node(node["NodeID"]) for node in self._ray.nodes() if node["Alive"]]
        clearing = self._ray.remote(clear)
        done = [
            clearing.options(num_cpus=0, max_retries=0, **there).remote(self._scratch)
            for there in nodes
        ]
        self._ray.wait(done, num_returns=len(done), timeout=HURRIED_SECONDS * 5)


def _last_line(error: BaseException) -> str:
    """What Ray could not even begin, it tells with a traceback; its end is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
