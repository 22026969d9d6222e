"""The signals that ask a process to end, and how a grid and its workers take them.

A terminal sends Ctrl-C, and the news that it is gone, to a whole process group. Only the parent
listens to those: it decides, and asks its workers with SIGTERM.
"""

import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

FROM_TERMINAL: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)
)
ENDING = (*FROM_TERMINAL, signal.SIGTERM)


def listen() -> None:
    """Makes this process, a worker, end by SIGTERM only, and that by a KeyboardInterrupt."""
    for number in FROM_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        # They were blocked since before this process began: one that has come arrives now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def stop_listening() -> None:
    """Makes this process deaf to SIGTERM: its work is over, whatever came of it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's form
    # One that is on its way may be writing a status: asking again must not disturb that.
    if not isinstance(sys.exception(), KeyboardInterrupt):
        raise KeyboardInterrupt


@contextmanager
def blocked(numbers: Collection[signal.Signals]) -> Iterator[None]:
    """Lets a process that is started in the block begin with these signals blocked.

    Ignoring them would do the same for the child, but lose those that reach this process meanwhile.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Collects the signals that reach this process in the block; at its end they take effect."""
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived  # handlers belong to the main thread, which is elsewhere
        return
    previous = {number: signal.getsignal(number) for number in ENDING}
    try:
        for number, handler in previous.items():
            if handler is not None and handler is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: arrived.append(number))
        yield arrived
    finally:
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)
