"""`abcrl train-rm`."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    ConfigOption,
    DatasetOption,
    DebugOption,
    DryRunOption,
    EpochsOption,
    LabelColumnOption,
    OutputOption,
    SeedOption,
    SetOption,
    TextColumnOption,
)
from .outcome import exit_codes
from .resolve import resolve

if TYPE_CHECKING:
    from abcrl.analysis.credit_spread import CreditSpread
    from abcrl.stages.train_rm import RewardModelResult


def train_rm(  # noqa: PLR0913 - one parameter per flag
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="SFT model to start from: folder or Hub id."),
    ] = None,
    dataset: DatasetOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="classifier: two labels, score = logit(positive) - logit(negative).",
        ),
    ] = None,
    output: OutputOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Stage 2: train a reward model on labelled texts, starting from the SFT model.

    Prints its held-out accuracy and calibration, and how its attention would spread credit.
    """
    with exit_codes(debug=debug):
        from abcrl.config import TrainRmConfig

        resolved = resolve(
            TrainRmConfig,
            file=config,
            assignments=assignments,
            data={"source": dataset, "text_column": text_column, "label_column": label_column},
            flags={
                "model": model,
                "objective": objective,
                "run.output": output,
                "training.epochs": epochs,
                "run.seed": seed,
            },
            dry_run=dry_run,
        )
        from abcrl.stages.train_rm import run_train_rm

        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            result = run_train_rm(resolved, reporter)
        typer.echo(
            _describe(
                result,
                min(resolved.truncation.min_tokens, resolved.training.max_length),
                min(resolved.truncation.max_tokens, resolved.training.max_length),
            )
        )


def _describe(result: "RewardModelResult", shortest: int, longest: int) -> str:
    quality = result.quality
    bag, bag_truncated = quality.naive_bayes_accuracy, quality.naive_bayes_accuracy_truncated
    limit = quality.cut_to
    whole = "on complete texts" if limit is None else f"on texts of at most {limit} tokens"
    cut = f"on texts cut to {shortest}-{longest} tokens"
    lines = [
        "held-out accuracy, beside that of naive Bayes on the same words:",
        f"  {quality.accuracy:.1%} (naive Bayes {bag:.1%}) {whole}",
        f"  {quality.accuracy_truncated:.1%} (naive Bayes {bag_truncated:.1%}) {cut}",
        "calibration of P(positive) = sigmoid(score):",
        f"  error {quality.calibration_error:.1%}, NLL {quality.nll:.2f} nats {whole}",
        f"  error {quality.calibration_error_truncated:.1%}, "
        f"NLL {quality.nll_truncated:.2f} nats {cut}",
        f"score {quality.score_mean:+.2f} on average, standard deviation {quality.score_std:.2f}",
    ]
    if quality.credit is not None:
        lines += _describe_credit(quality.credit)
    return "\n".join([*lines, f"model in {result.final}"])


def _describe_credit(credit: "CreditSpread") -> list[str]:
    lines = [
        f"ABC credit over {credit.texts} held-out texts of {credit.tokens:.0f} tokens:",
        f"  {credit.effective_tokens:.1f} effective tokens, entropy {credit.entropy:.2f} nats",
        f"  {credit.first_token_share:.1%} on the first token, {credit.last_token_share:.1%} on "
        f"the last",
        f"  {credit.punctuation_share:.1%} on punctuation, which is "
        f"{credit.punctuation_token_share:.1%} of the tokens",
    ]
    if credit.causal_share is None or credit.causal_token_share is None:
        return lines
    return [
        *lines,
        f"  {credit.causal_share:.1%} on the words that truly decide, which are "
        f"{credit.causal_token_share:.1%} of the tokens",
    ]
