"""`abcrl compare`."""

from importlib.resources import as_file, files
from typing import Annotated

import typer

from .options import (
    ConfigOption,
    DebugOption,
    DryRunOption,
    SetOption,
)
from .outcome import exit_codes
from .resolve import print_config, resolve


def compare(  # noqa: PLR0913 - one parameter per flag
    *,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="SOURCE",
            help="toy, a file or a Hub id, for every stage. [default: the recipe's]",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="SOURCE",
            help="Held-out texts: a file, or a split of the Hub id. [default: the recipe's]",
        ),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            "--text-column", metavar="NAME", help="Column of the texts. [default: the recipe's]"
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column", metavar="NAME", help="Column of the labels. [default: the recipe's]"
        ),
    ] = None,
    modes: Annotated[
        str | None,
        typer.Option(
            "--modes",
            metavar="abc,rlhf,...",
            help="Arms to run: names of the recipe's arms, or reward modes; all: every mode, and "
            "rlhf at lambda 1.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="0-9", help="Seeds: a range, or a list like 0,3,5."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Runs at the same time. [default: one per CPU core]"),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="Run cells here, or on a Ray cluster. Changes no result. [default: local]",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Of the Ray cluster. [default: RAY_ADDRESS, or the one that runs here, or a new "
            "one]",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FOLDER", help="Folder; what is finished there is not run again."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="FILE:NAME",
            help="Show training curves beside those of runs made elsewhere, e.g. "
            "experiments/paper/curves.json:imdb, the paper's. Changes no result.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed cells again.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Stage 4: train every arm with every seed and compare them, paired by seed.

    With no arguments it runs the built-in experiment: generated reviews, the paper's five modes, a
    few minutes on two CPU cores. SFT and reward model are trained once and shared.
    """
    with exit_codes(debug=debug):
        from abcrl.config import CompareConfig, parse_seeds

        with as_file(files("abcrl.config") / "toy.yaml") as built_in:
            resolved = resolve(
                CompareConfig,
                file=config or built_in,
                assignments=assignments,
                data={
                    "source": dataset,
                    "validation": validation,
                    "columns.text": text_column,
                    "columns.label": label_column,
                },
                flags={
                    "seeds": None if seeds is None else parse_seeds(seeds),
                    "grid.jobs": jobs,
                    "grid.engine": engine,
                    "grid.address": address,
                    "output": output,
                },
            )
        if modes is not None:
            resolved = resolved.select_arms([name.strip() for name in modes.split(",")])
        reference = None
        if against is not None:
            from abcrl.stages.reference import describe_reference, open_reference

            reference = open_reference(resolved, against)
        if dry_run:
            from abcrl.stages.plan import describe_plan, require_inputs

            require_inputs(resolved, ask_hub=False)
            plan = describe_plan(resolved, retry_failed=retry_failed)
            if reference is not None:
                plan.append(describe_reference(resolved, reference))
            print_config(resolved, plan)
        from abcrl.stages.compare import run_compare

        from .progress import ConsoleReporter
        from .tables import print_comparison

        with ConsoleReporter() as reporter:
            result = run_compare(resolved, reporter, retry_failed=retry_failed)
        print_comparison(result)
        if reference is not None:
            from abcrl.stages.reference import compare_with_reference

            from .against_table import print_against

            beside = compare_with_reference(resolved, result, reference)
            if beside is not None:
                print_against(beside)
        if result.summary.failed:
            raise typer.Exit(1)
