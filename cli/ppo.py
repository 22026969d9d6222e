"""`abcrl ppo`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    ConfigOption,
    DatasetOption,
    DebugOption,
    DryRunOption,
    SeedOption,
    SetOption,
    TextColumnOption,
)
from .outcome import exit_codes
from .resolve import end_dry_run, resolve

if TYPE_CHECKING:
    from abcrl.config import PpoConfig
    from abcrl.stages.ppo import PpoResult


def ppo(  # noqa: PLR0913 - one parameter per flag
    *,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="MODEL", help="SFT model to train: folder or Hub id."),
    ] = None,
    reward_model: Annotated[
        str | None,
        typer.Option("--reward-model", metavar="MODEL", help="Reward model: folder or Hub id."),
    ] = None,
    dataset: DatasetOption = None,
    text_column: TextColumnOption = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="MODE",
            help="How the score is spread: abc (reward model's attention), rlhf (all on the last "
            "token), uniform, abc-d (policy's attention, averaged), abc-d2 (policy's attention at "
            "the last token), red (differences of the scores of prefixes); controls of abc: "
            "shuffled, swapped, position, random. [default: abc]",
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            "--beta",
            help="Share of the score that is spread, 0 to 1; the rest stays on the last token. "
            "[default: 0.8, uniform 1.0; not with rlhf]",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="PPO steps. [default: 150]")] = None,
    checkpoint_interval: Annotated[
        int | None,
        typer.Option("--checkpoint-interval", help="PPO steps between checkpoints. [default: 20]"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Run folder; must not exist yet, unless a run in it is resumed.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in FOLDER from its last checkpoint, with its configuration "
            "unless a file is given; it ends as it would have ended, to the byte.",
        ),
    ] = False,
    allow_inexact: Annotated[
        bool,
        typer.Option(
            "--allow-inexact",
            help="When resuming: go on on another machine or with other versions too, though the "
            "last digits will differ.",
        ),
    ] = False,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Stage 3: train the policy with PPO on a score spread over tokens.

    Held-out prompts are evaluated along the way; metrics and samples are JSON lines in FOLDER.
    """
    with exit_codes(debug=debug):
        from abcrl.config import InputError, PpoConfig

        if allow_inexact and not resume:
            raise InputError(
                "--allow-inexact: must come with --resume, received without; add --resume"
            )

        resolved = resolve(
            PpoConfig,
            file=config or (_saved_config(output, needed=policy is None) if resume else None),
            assignments=assignments,
            data={"source": dataset, "text_column": text_column},
            flags={
                "policy": policy,
                "reward_model": reward_model,
                "reward.mode": reward,
                "reward.beta": beta,
                "steps": steps,
                "checkpoint.interval": checkpoint_interval,
                "run.output": output,
                "run.seed": seed,
            },
        )
        if dry_run:
            end_dry_run(resolved, _memory(resolved))
        from abcrl.stages.ppo import run_ppo

        from .progress import ConsoleReporter

        with ConsoleReporter() as reporter:
            result = run_ppo(
                resolved,
                reporter,
                resume=resume,
                if_inexact="go on" if allow_inexact else "refuse",
            )
        typer.echo(_describe(result))


def _memory(config: "PpoConfig") -> Iterator[str]:
    """Yields what the run would take, counted once the configuration is printed."""
    from abcrl.rl.memory.plan import describe_memory

    yield from describe_memory(config)


def _saved_config(output: str | None, *, needed: bool) -> Path | None:
    """Returns what the run in a folder was configured with; None where there is none.

    Raises:
        InputError: There is none, and nothing else says what to run; or it is another command's.
    """
    from abcrl.config import InputError
    from abcrl.storage import is_ppo_run

    if output is None:
        return None
    folder = Path(output).expanduser()
    file = folder / "config.yaml"
    if not file.is_file():
        if needed:
            raise InputError(
                f"output: must hold a run to go on with, received {folder}, where there is none; "
                f"correct it, or say with --config or flags what to run"
            )
        return None
    if not is_ppo_run(folder):
        raise InputError(
            f"output: must hold a PPO run, received {folder}, which holds something else; choose "
            f"another --output"
        )
    return file


def _describe(result: "PpoResult") -> str:
    before, after = result.before, result.after
    lines = [
        f"held-out score {before['eval/score']:+.2f} before, {after['eval/score']:+.2f} "
        f"± {after['eval/score_se']:.2f} (standard error) after, at an exact KL of "
        f"{after['eval/kl_exact']:.1f} nats per response"
    ]
    if "eval/gold_score" in after:
        lines.append(
            f"gold score {before['eval/gold_score']:+.2f} before, {after['eval/gold_score']:+.2f} "
            f"± {after['eval/gold_score_se']:.2f} after"
        )
    lines.append(f"{after['eval/length']:.0f} tokens per response, model in {result.final}")
    return "\n".join(lines)
