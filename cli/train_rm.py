"""`abcrl train-rm`."""

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    DatasetOption,
    DebugOption,
    DryRunOption,
    EpochsOption,
    LabelColumnOption,
    SeedOption,
    SetOption,
    TextColumnOption,
    ValidationOption,
)
from .outcome import exit_codes
from .resolve import resolve
from .resuming import (
    AllowInexactOption,
    ResumableOutputOption,
    ResumeOption,
    TrainingCheckpointOption,
    require_resume,
    saved_config,
)


def train_rm(  # noqa: PLR0913 - one parameter per flag
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="SFT model to start from: folder or Hub id."),
    ] = None,
    dataset: DatasetOption = None,
    validation: ValidationOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="classifier: texts with two labels, score = logit(positive) - logit(negative). "
            "bradley-terry: pairs of chosen and rejected.",
        ),
    ] = None,
    epochs: EpochsOption = None,
    checkpoint_interval: TrainingCheckpointOption = None,
    output: ResumableOutputOption = None,
    resume: ResumeOption = False,
    allow_inexact: AllowInexactOption = False,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Stage 2: train a reward model on labelled texts or pairs, starting from the SFT model.

    Prints its held-out accuracy and calibration, and how its attention would spread credit.
    """
    with exit_codes(debug=debug):
        from abcrl.config import TrainRmConfig

        require_resume(resume=resume, allow_inexact=allow_inexact)
        saved = (
            saved_config(
                output, TrainRmConfig, "a reward-model run", needed=config is None and model is None
            )
            if resume
            else None
        )
        resolved = resolve(
            TrainRmConfig,
            file=config or saved,
            assignments=assignments,
            data={
                "source": dataset,
                "validation": validation,
                "columns.text": text_column,
                "columns.label": label_column,
            },
            flags={
                "model": model,
                "objective": objective,
                "run.output": output,
                "training.epochs": epochs,
                "checkpoint.interval": checkpoint_interval,
                "run.seed": seed,
            },
            dry_run=dry_run,
        )
        from abcrl.stages.train_rm import run_train_rm

        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            result = run_train_rm(
                resolved,
                reporter,
                resume=resume,
                if_inexact="go on" if allow_inexact else "refuse",
            )
        from .reward_quality import describe_quality

        lines = describe_quality(result.quality, resolved)
        typer.echo("\n".join([*lines, f"model in {result.final}"]))
