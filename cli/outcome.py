"""How a command ends: the one error printer, and the exit codes."""

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130


@contextmanager
def exit_codes(*, debug: bool) -> Iterator[None]:
    """Turns errors into one line on stderr and an exit code: 2 bad input, 1 failed, 130 stopped."""
    from abcrl.config import InputError, RunFailedError

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except InputError as error:
        _end(error, str(error), BAD_INPUT, debug=debug)
    except RunFailedError as error:
        _end(error, f"the run failed: {error}", FAILED, debug=debug)
    except KeyboardInterrupt as error:
        _end(error, "interrupted", INTERRUPTED, debug=debug)
    except typer.Exit:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        _end(error, f"internal error: {reason}; --debug shows more", FAILED, debug=debug)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's form
    """Ends the run in the same orderly way as Ctrl-C."""
    raise KeyboardInterrupt


def _end(error: BaseException, message: str, code: int, *, debug: bool) -> None:
    if debug and code != INTERRUPTED:
        traceback.print_exception(error)
    for line in message.split("\n"):  # splitlines would also break at what `_printable` escapes
        sys.stderr.write(f"abcrl: {_printable(line)}\n")
    raise typer.Exit(code)


def _printable(line: str) -> str:
    """A message may quote what was received; control characters must not reach the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
