"""`abcrl eval`."""

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


def evaluate(  # noqa: PLR0913 - one parameter per flag
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Folder of a PPO run, whose configuration then says all that is not said here; or "
            "a model: folder or Hub id.",
        ),
    ] = None,
    *,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            help="What the policy is held against: another run, or a model. [default: the SFT "
            "model that the run started from]",
        ),
    ] = None,
    reward_model: Annotated[
        str | None,
        typer.Option(
            "--reward-model",
            metavar="MODEL",
            help="Reward model that scores the responses: folder or Hub id. [default: the run's]",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="MODEL",
            help="Model that the KL is to. [default: the SFT model that the run started from]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    validation: ValidationOption = None,
    text_column: TextColumnOption = None,
    prompts: Annotated[
        int | None,
        typer.Option("--prompts", help="Held-out prompts. [default: as many as the run's, or 64]"),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Responses to each prompt. [default: 4]")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of the responses, the same for both. [default: 0]"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Folder for every response and its score; must not exist yet. [default: none]",
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a policy with its SFT model, or with another run, on held-out prompts.

    Trains nothing. Both answer the same prompts with the same random numbers: score, win rate, KL,
    length, diversity, with their uncertainty over the prompts. It is about these two models;
    whether the ways they were trained differ takes several seeds of each (abcrl compare).
    """
    with exit_codes(debug=debug):
        from abcrl.config import EvalConfig
        from abcrl.tools.evaluated_runs import settings_of

        defaults, named = settings_of(model, against, other_source=dataset is not None)
        resolved = resolve(
            EvalConfig,
            file=config,
            assignments=assignments,
            data={"source": dataset, "validation": validation, "columns.text": text_column},
            flags={
                **named,
                "reward_model": reward_model,
                "reference": reference,
                "prompts": prompts,
                "samples": samples,
                "seed": seed,
                "output": output,
            },
            defaults=defaults,
            dry_run=dry_run,
        )
        from abcrl.tools.evaluation import run_eval

        from .eval_table import print_evaluation
        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            report = run_eval(resolved, reporter)
        print_evaluation(report)
