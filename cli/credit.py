"""`abcrl credit`."""

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    DatasetOption,
    DebugOption,
    DryRunOption,
    SetOption,
    TextColumnOption,
    ValidationOption,
)
from .outcome import exit_codes
from .resolve import resolve


def credit(  # noqa: PLR0913 - one parameter per flag
    *,
    reward_model: Annotated[
        str | None,
        typer.Option("--reward-model", metavar="MODEL", help="Reward model: folder or Hub id."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="MODEL",
            help="Whose tokens are credited, and whose attention abc-d and abc-d2 read. [default: "
            "none; the tokens are the reward model's]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    validation: ValidationOption = None,
    text_column: TextColumnOption = None,
    modes: Annotated[
        str | None,
        typer.Option(
            "--modes",
            metavar="abc,uniform,...",
            help="Reward modes. [default: all that the models allow]",
        ),
    ] = None,
    texts: Annotated[
        int | None, typer.Option("--texts", help="Held-out texts to look at. [default: 100]")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Folder for the numbers of each text; must not exist yet. [default: none]",
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Show where a reward model's credit falls, mode by mode, and whether it is faithful.

    Trains nothing. Each held-out text is read as a response, its score is spread by every mode, and
    then tokens are taken away to see which of them the score hangs on.
    """
    with exit_codes(debug=debug):
        from abcrl.config import CreditConfig

        resolved = resolve(
            CreditConfig,
            file=config,
            assignments=assignments,
            data={
                "source": dataset,
                "validation": validation,
                "columns.text": text_column,
            },
            flags={
                "reward_model": reward_model,
                "policy": policy,
                "modes": None if modes is None else [name.strip() for name in modes.split(",")],
                "texts": texts,
                "output": output,
            },
            dry_run=dry_run,
        )
        from abcrl.tools.credit import run_credit

        from .credit_table import print_credit
        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            report = run_credit(resolved, reporter)
        print_credit(report)
