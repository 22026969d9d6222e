"""Where worker processes come from: a fork server, where the platform has one.

Importing torch and transformers costs 3 to 5 seconds, which a spawned process pays every time; the
server imports them once and each worker is forked from it. A worker is as clean as a spawned one:
the server has imported modules and done nothing else, so no state of the caller, of another task,
of a random generator or of a GPU reaches it. The result of a task therefore depends neither on
`jobs` nor on its neighbours. (Forking the caller itself would copy its threads' locks and its GPU
context: never that.)
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import context, resource_tracker

from abcrl.signals import ENDING, blocked

Context = context.ForkServerContext | context.SpawnContext


def choose_context(preload: Sequence[str]) -> Context:
    """Returns what starts processes; a fork server is running then, and imports `preload`."""
    # macOS has a fork server too, but its system frameworks do not survive a fork.
    if not _has_server() or sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver  # absent on Windows

    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(preload))
    resource_tracker.ensure_running()  # now, as it changes what is blocked
    # What is sent to the whole group must not end the server before its workers, through which the
    # parent learns how they ended. The workers inherit this until they listen.
    with blocked(ENDING):
        forkserver.ensure_running()
    return server


def end_server() -> None:
    """Ends the server that nobody needs now; the next grid starts another.

    It would end with this process, but only after its imports.
    """
    if _has_server():
        from multiprocessing import forkserver

        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def _has_server() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()
