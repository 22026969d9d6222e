"""`abcrl inspect`."""

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    DebugOption,
    DryRunOption,
    LabelColumnOption,
    SetOption,
    TextColumnOption,
    ValidationOption,
)
from .outcome import FAILED, exit_codes
from .resolve import resolve


def inspect(  # noqa: PLR0913 - one parameter per flag
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="toy (generated reviews), a file (.jsonl, .csv, .txt, each also .gz; .parquet, "
            ".arrow) or a Hub id. [default: toy]",
        ),
    ] = None,
    *,
    subset: Annotated[
        str | None,
        typer.Option("--subset", metavar="NAME", help="Hub id: its configuration. [default: none]"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Hub id: its split. [default: train]"),
    ] = None,
    validation: ValidationOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="MODEL",
            help="Whose tokens are counted and shown: folder or Hub id. [default: none, characters "
            "alone]",
        ),
    ] = None,
    examples: Annotated[
        int | None, typer.Option("--examples", help="Rows to show. [default: 3]")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a dataset holds: columns, format, lengths, examples, and every problem found.

    Trains nothing and changes nothing. Rows that cannot be read are counted here; the other
    commands refuse them, unless data.rows.bad says drop.

    The exit code is 1 where nothing can be done with the source as it is configured: no format is
    found, no row can be read and written in data.template, or the rows cannot be divided; else 0.
    """
    with exit_codes(debug=debug):
        from abcrl.config import InspectConfig

        resolved = resolve(
            InspectConfig,
            file=config,
            assignments=assignments,
            data={
                "source": source,
                "subset": subset,
                "split": split,
                "validation": validation,
                "columns.text": text_column,
                "columns.label": label_column,
            },
            flags={"tokenizer": tokenizer, "examples": examples},
            dry_run=dry_run,
        )
        from abcrl.tools.inspection import inspect_source

        from .inspect_table import print_inspection

        report = inspect_source(resolved)
        print_inspection(report)
        if not report.usable:
            raise typer.Exit(FAILED)
