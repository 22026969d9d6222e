"""How a command ends: the one error printer, the exit codes, and the signals that stop it."""

import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

_REPEAT_SECONDS = 0.5


@contextmanager
def exit_codes(*, debug: bool) -> Iterator[None]:
    """Turns errors into one line on stderr and an exit code: 2 bad input, 1 failed, 130 stopped.

    The notes of an interrupt, such as what was saved, follow it on its line.
    """
    stop = _Stop()
    try:
        with stop:
            yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if stop.asked or isinstance(error, KeyboardInterrupt):
            _end("; ".join(["interrupted", *getattr(error, "__notes__", [])]), INTERRUPTED)
        if isinstance(error, BrokenPipeError) and _is_unheard():
            raise typer.Exit(FAILED) from None
        if debug:
            traceback.print_exception(error)
        _end(*_explain(error))


class _Stop:
    """Turns Ctrl-C, SIGTERM and SIGHUP into a KeyboardInterrupt that arrives.

    Libraries may swallow the exception or turn it into another, most of all while they are being
    imported. So it is raised again until this context is left, and whatever leaves it then counts.
    A signal that was ignored when the command began stays ignored, as `nohup` wants it.
    """

    def __init__(self) -> None:
        self.asked = False
        numbers = [
            getattr(signal, name)
            for name in ("SIGINT", "SIGTERM", "SIGHUP")
            if hasattr(signal, name)  # Windows has no SIGHUP
        ]
        self._previous = {number: signal.getsignal(number) for number in numbers}

    def __enter__(self) -> Self:
        for number, handler in self._previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.asked and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        for number, handler in self._previous.items():
            # Nothing is left to stop: another Ctrl-C would only put a traceback over the end.
            signal.signal(number, signal.SIG_IGN if self.asked else handler or signal.SIG_DFL)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self.asked:
            self.asked = True
            sys.unraisablehook = _pass_over_interrupts
            if hasattr(signal, "setitimer"):
                signal.signal(signal.SIGALRM, self._interrupt)
                signal.setitimer(signal.ITIMER_REAL, _REPEAT_SECONDS, _REPEAT_SECONDS)
        # One that is on its way may be writing a status: asking again must not disturb that.
        if not isinstance(sys.exception(), KeyboardInterrupt):
            raise KeyboardInterrupt


def _pass_over_interrupts(swallowed: "UnraisableHookArgs") -> None:
    if not issubclass(swallowed.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(swallowed)


def _is_unheard() -> bool:
    """Whether nobody reads what is printed, say behind `| head`; then nothing more is."""
    if not hasattr(select, "poll"):  # Windows
        return False
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in pipe.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be flushed
    return True


def _explain(error: BaseException) -> tuple[str, int]:
    """Returns what to print and the exit code."""
    from abcrl.config.errors import InputError, RunFailedError

    if isinstance(error, InputError):
        return str(error), BAD_INPUT
    if isinstance(error, RunFailedError):
        return f"the run failed: {error}", FAILED
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"internal error: {reason}; --debug shows more", FAILED


def _end(message: str, code: int) -> None:
    with suppress(OSError):  # the terminal may be gone, which is why the command ends
        for line in message.split("\n"):  # splitlines would also break at what `printable` escapes
            sys.stderr.write(f"abcrl: {printable(line)}\n")
    raise typer.Exit(code)


def printable(line: str) -> str:
    """A message may quote what was received; control characters must not reach the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
