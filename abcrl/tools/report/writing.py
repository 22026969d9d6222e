"""Writes the report of a folder."""

from pathlib import Path

from abcrl.config import InputError
from abcrl.storage import write_atomically

from .drawn import picture_report, save_pictures
from .gather import read_report
from .page import render

NAME = "report.html"


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Writes the report of a comparison or of one run in one step; returns its path.

    In the folder itself the figures are written beside it, as PNG and SVG. Elsewhere it is one file
    and nothing else, and the folder stays as it was.

    Args:
        folder: As `abcrl compare`, `ppo`, `sft` or `train-rm` wrote it, finished or not.
        output: The file, its name ending in .html; of a symbolic link the file that it points to.
            None: report.html in the folder.

    Raises:
        InputError: The folder holds neither, or the file cannot be written, or is none.
    """
    wanted = (output or folder / NAME).absolute()
    place = _resolve(wanted)
    report = read_report(folder)
    try:
        if place.parent == folder.resolve():
            save_pictures(picture_report(report), folder)
        write_atomically(place, render(report))
    except OSError as error:
        raise _refuse(wanted, error.strerror or str(error)) from None
    return wanted


def _resolve(wanted: Path) -> Path:
    """Returns the file behind a path, which is none yet or one that a page may replace.

    Raises:
        InputError: It is none.
    """
    try:
        place = wanted.resolve()
        if place.exists() and not place.is_file():
            raise _refuse(wanted, "it is no regular file")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise _refuse(wanted, str(error)) from None
    if {wanted.suffix.lower(), place.suffix.lower()} != {".html"}:
        behind = f", a link to {place}" if place.name != wanted.name else ""
        raise InputError(
            f"output: must be a file whose name ends in .html, received {wanted}{behind}; choose "
            f"another with --output"
        )
    return place


def _refuse(place: Path, reason: str) -> InputError:
    return InputError(
        f"output: must be a file that can be written, received {place} ({reason}); choose another "
        f"with --output"
    )
