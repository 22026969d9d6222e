"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from abcrl import __version__


def _print_version(requested: bool) -> None:  # noqa: FBT001 - typer calls it so
    if requested:
        typer.echo(f"abcrl {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="YAML file; --set and flags override it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Set any configuration key; repeatable. --dry-run shows them all.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="SOURCE",
        help="toy (generated reviews), a file (.jsonl, .csv, .txt, each also .gz; .parquet, "
        ".arrow) or a Hub id. [default: toy]",
    ),
]
ValidationOption = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="SOURCE",
        help="Held-out texts: a file, or a split of the Hub id. [default: a share of the dataset]",
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option("--text-column", metavar="NAME", help="Column of the texts. [default: text]"),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option("--label-column", metavar="NAME", help="Column of the labels. [default: label]"),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Every random draw follows from it. [default: 0]"),
]
EpochsOption = Annotated[
    float | None,
    typer.Option("--epochs", help="Passes over the training texts. [default: 1]"),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the resolved configuration (and plan) and stop."),
]
DebugOption = Annotated[
    bool,
    typer.Option("--debug", help="On an error, show the whole traceback."),
]
