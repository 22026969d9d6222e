"""`abcrl ppo`."""

from collections.abc import Iterator
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
    ValidationOption,
)
from .outcome import exit_codes
from .resolve import end_dry_run, resolve
from .resuming import (
    AllowInexactOption,
    ResumableOutputOption,
    ResumeOption,
    require_resume,
    saved_config,
)

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
    validation: ValidationOption = None,
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
    output: ResumableOutputOption = None,
    resume: ResumeOption = False,
    allow_inexact: AllowInexactOption = False,
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
        from abcrl.config import PpoConfig

        require_resume(resume=resume, allow_inexact=allow_inexact)
        saved = (
            saved_config(output, PpoConfig, "a PPO run", needed=config is None and policy is None)
            if resume
            else None
        )
        resolved = resolve(
            PpoConfig,
            file=config or saved,
            assignments=assignments,
            data={
                "source": dataset,
                "validation": validation,
                "columns.text": text_column,
            },
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
