"""Writes the report of a folder."""

from pathlib import Path

from abcrl.config import InputError
from abcrl.storage import write_atomically

from .drawn import picture_report, save_pictures
from .gather import read_report
from .page import render

NAME = "report.html"


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Writes the report of a comparison or a PPO run in one step; returns its path.

    In the folder itself the figures are written beside it, as PNG and SVG. Elsewhere it is one file
    and nothing else, and the folder stays as it was.

    Args:
        folder: As `abcrl compare` or `abcrl ppo` wrote it, finished or not.
        output: The file; None: report.html in the folder.

    Raises:
        InputError: The folder is neither, or the file cannot be written.
    """
    report = read_report(folder)
    place = (output or folder / NAME).absolute()
    try:
        if place.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if place.parent == folder.absolute():
            save_pictures(picture_report(report), folder)
        write_atomically(place, render(report))
    except OSError as error:
        raise InputError(
            f"output: must be a file that can be written, received {place} ({error.strerror}); "
            f"choose another with --output"
        ) from None
    return place
