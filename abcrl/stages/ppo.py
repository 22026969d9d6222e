"""`abcrl ppo`: a policy, a reward model and prompts in, a trained policy out."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from abcrl.config import PpoConfig
from abcrl.models import save_policy
from abcrl.reporter import Reporter
from abcrl.storage import RunFolder, read_last_row, read_rows

from .ppo_inputs import Inputs, load_inputs
from .ppo_resume import EarlierRun, IfInexact, hold_earlier_run
from .ppo_training import Metrics, Training


@dataclass(frozen=True)
class PpoResult:
    """What a finished PPO run says of itself: the held-out evaluation before and after."""

    final: Path
    before: Metrics
    after: Metrics


def run_ppo(
    config: PpoConfig,
    reporter: Reporter,
    *,
    resume: bool = False,
    if_inexact: IfInexact = "refuse",
) -> PpoResult:
    """Trains the policy and saves it to `<output>/final`.

    Args:
        config: The whole configuration.
        reporter: Receives progress, and from where a run goes on.
        resume: Go on with the run in the output folder from its last checkpoint; it ends with the
            bytes with which it would have ended. A finished run is left as it is.
        if_inexact: resume: What to do where that cannot be promised, because machine or software
            are others: refuse | go on | start again, at step 0. Texts or models that are others
            are refused by the first two.

    Raises:
        InputError: Data, models or folder cannot be used, or the run cannot be gone on with;
            nothing was written then.
        RunFailedError: A score or loss became non-finite.
    """
    output = Path(config.run.output)
    with ExitStack() as stack:
        earlier = stack.enter_context(hold_earlier_run(config)) if resume else None
        if earlier is not None and earlier.finished:
            reporter.message(f"nothing to do: the run in {output} is finished")
            return read_result(output)
        if earlier is None:
            RunFolder.check_free(output, resumable=True)
        if resume and earlier is None:
            reporter.message(f"no run in {output}: starts at step 0")
        inputs = load_inputs(config, reporter)
        _train(config, inputs, reporter, earlier, if_inexact)
    return read_result(output)


def read_result(output: Path) -> PpoResult:
    """Returns what a finished run says of itself."""
    first, last = read_rows(output, "metrics")[0], read_last_row(output, "metrics")
    before, after = (
        {name: value for name, value in (row or {}).items() if name.startswith("eval/")}
        for row in (first, last)
    )
    return PpoResult(output / "final", before, after)


def _train(
    config: PpoConfig,
    inputs: Inputs,
    reporter: Reporter,
    earlier: EarlierRun | None,
    if_inexact: IfInexact,
) -> None:
    if earlier is None:
        checkpoint = None
        folder = RunFolder.create(Path(config.run.output), config, inputs.environment)
    else:
        checkpoint = earlier.find_checkpoint(inputs.environment, if_inexact, reporter)
        folder = earlier.reopen(inputs.environment, checkpoint)
    with folder:
        training = Training(config, inputs, folder, reporter, checkpoint)
        del checkpoint  # it is as large as the policy and its optimizer
        with training.kept():
            training.run()
            with folder.new_folder("final") as final:
                save_policy(inputs.actors.policy, final)
                inputs.tokenizer.save_pretrained(final)
