"""`abcrl ppo`: a policy, a reward model and prompts in, a trained policy out."""

from dataclasses import dataclass
from pathlib import Path

from abcrl.config import PpoConfig
from abcrl.models import save_policy
from abcrl.reporter import Reporter
from abcrl.storage import read_last_row, read_rows

from .ppo_inputs import load_inputs
from .ppo_training import Metrics, Training
from .resume import EarlierRun, IfInexact, hold_earlier_run, keys_of_rows, open_run


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
    with hold_earlier_run(config, _reads(config), reporter, resume=resume) as earlier:
        if earlier is None or not earlier.finished:
            _train(config, reporter, earlier, if_inexact)
    return read_result(Path(config.run.output))


def read_result(output: Path) -> PpoResult:
    """Returns what a finished run says of itself."""
    first, last = read_rows(output, "metrics")[0], read_last_row(output, "metrics")
    before, after = (
        {name: value for name, value in (row or {}).items() if name.startswith("eval/")}
        for row in (first, last)
    )
    return PpoResult(output / "final", before, after)


def _reads(config: PpoConfig) -> dict[str, str]:
    """Returns what a run reads, by fingerprint, and the configuration key that names it."""
    networks = ("policy", "reward_model")
    tokenizers = {f"{name}_tokenizer": name for name in networks}
    return {"texts": keys_of_rows(config.data), **{name: name for name in networks}, **tokenizers}


def _train(
    config: PpoConfig, reporter: Reporter, earlier: EarlierRun | None, if_inexact: IfInexact
) -> None:
    inputs = load_inputs(config, reporter)
    folder, checkpoint = open_run(earlier, config, inputs.environment, if_inexact, reporter)
    with folder:
        training = Training(config, inputs, folder, reporter, checkpoint)
        del checkpoint  # it is as large as the policy and its optimizer
        with training.kept():
            training.run()
            with folder.new_folder("final") as final:
                save_policy(inputs.actors.policy, final)
                inputs.tokenizer.save_pretrained(final)
