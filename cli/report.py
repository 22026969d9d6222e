"""`abcrl report`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption
from .outcome import exit_codes, printable


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="What abcrl compare, ppo, sft or train-rm has written, finished or not.",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="The page, NAME.html; is replaced where it exists. [default: report.html in "
            "FOLDER, and the figures beside it]",
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write a comparison, or one run, as one HTML page that works offline.

    Trains nothing. Verdicts first, then figures, tables, what differs between the arms, and samples
    side by side with the credit of each token.
    """
    with exit_codes(debug=debug):
        from abcrl.tools.report import write_report

        typer.echo(printable(str(write_report(folder, output))))
