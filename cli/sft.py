"""`abcrl sft`."""

from typing import Annotated

import typer

from .options import (
    ConfigOption,
    DatasetOption,
    DebugOption,
    DryRunOption,
    EpochsOption,
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


def sft(  # noqa: PLR0913 - one parameter per flag
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="From scratch: tiny, small, or a transformers config.json (a path ending in "
            ".json). Trained: a local model folder or a Hub id. [default: small]",
        ),
    ] = None,
    dataset: DatasetOption = None,
    validation: ValidationOption = None,
    text_column: TextColumnOption = None,
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
    """Stage 1: train a causal language model on texts (supervised fine-tuning).

    The model ends up in FOLDER/final, loadable with transformers' from_pretrained.
    """
    with exit_codes(debug=debug):
        from abcrl.config import SftConfig

        require_resume(resume=resume, allow_inexact=allow_inexact)
        named = (config, model, dataset)
        saved = (
            saved_config(output, SftConfig, "an SFT run", needed=named == (None, None, None))
            if resume
            else None
        )
        resolved = resolve(
            SftConfig,
            file=config or saved,
            assignments=assignments,
            data={
                "source": dataset,
                "validation": validation,
                "columns.text": text_column,
            },
            flags={
                "model.base": model,
                "run.output": output,
                "training.epochs": epochs,
                "checkpoint.interval": checkpoint_interval,
                "run.seed": seed,
            },
            dry_run=dry_run,
        )
        from abcrl.stages.sft import run_sft

        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            result = run_sft(
                resolved,
                reporter,
                resume=resume,
                if_inexact="go on" if allow_inexact else "refuse",
            )
        typer.echo(
            f"held-out loss {result.heldout_loss:.3f} nats per token "
            f"(perplexity {result.heldout_perplexity:.2f}) after {result.steps} steps\n"
            f"model in {result.final}"
        )
