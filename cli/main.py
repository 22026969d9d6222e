"""The `abcrl` command: registers the commands in pipeline order and nothing else."""

import typer

from . import compare, credit, eval, inspect, ppo, report, sft, train_rm
from .options import VersionOption

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def about(*, version: VersionOption = False) -> None:
    """Spread an RLHF reward over tokens, and compare honestly whether it helps.

    The pipeline is sft, train-rm, ppo, compare; `abcrl compare` with no arguments runs a built-in
    experiment end to end in a few minutes on two CPU cores, without any download.
    """


app.command("sft", short_help="Train a language model on texts.")(sft.sft)
app.command("train-rm", short_help="Train a reward model on labelled texts.")(train_rm.train_rm)
app.command("ppo", short_help="Train a policy with PPO on a score spread over tokens.")(ppo.ppo)
app.command("compare", short_help="Train every arm with every seed, and compare.")(compare.compare)
app.command("credit", short_help="Show where credit falls, and whether it is faithful.")(
    credit.credit
)
app.command("eval", short_help="Compare a policy with its SFT model, or with another run.")(
    eval.evaluate
)
app.command("inspect", short_help="Show what a dataset holds, and what is wrong with it.")(
    inspect.inspect
)
app.command("report", short_help="Write a comparison or a run as one HTML page.")(report.report)
