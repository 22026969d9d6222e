"""Going on with a run where it stopped, or saying why not."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from abcrl.config import (
    DataConfig,
    InputError,
    PpoConfig,
    SftConfig,
    TrainRmConfig,
    differing_settings,
    to_yaml,
)
from abcrl.reporter import Reporter
from abcrl.storage import (
    Checkpoint,
    RunFolder,
    differing_environment,
    discard_checkpoints,
    hold_run,
    newest_checkpoint,
    read_checkpoint,
    read_config,
    read_environment,
    read_status,
)

IfInexact = Literal["refuse", "go on", "start again"]
"""What to do where the rest of a run would not be, to the byte, what it would have been."""

StageConfig = SftConfig | TrainRmConfig | PpoConfig


@dataclass(frozen=True)
class EarlierRun:
    """A run that began before, held against other writers.

    Attributes:
        config: The configuration now; its settings are those of the run.
        reads: What it reads, by fingerprint, and the configuration key that names it.
        lock: The run folder's, held.
        finished: Whether nothing is left to do.
    """

    config: StageConfig
    reads: Mapping[str, str]
    lock: FileLock
    finished: bool

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.config.run.output)

    def find_checkpoint(
        self, environment: Mapping[str, object], if_inexact: IfInexact, reporter: Reporter
    ) -> Checkpoint | None:
        """Returns where to go on from; None: at step 0. Says which it is.

        Raises:
            InputError: The run would not go on as it began, or from none of the checkpoints that
                it has, and `if_inexact` does not allow it.
        """
        reasons: list[str] = []
        checkpoint = read_checkpoint(self.path, reasons.append)
        if checkpoint is None and reasons and if_inexact != "start again":
            raise _no_usable_checkpoint(self.path, reasons[0])
        for reason in reasons:
            reporter.message(reason)
        if checkpoint is None:
            which = "usable checkpoint" if reasons else "checkpoint"
            reporter.message(f"no {which} in {self.path}: starts at step 0")
            return None
        _require_same_settings(self.path, checkpoint.config, self.config)
        exact = if_inexact != "go on"
        problem = _what_differs(self.path, environment, self.reads, exact=exact)
        if problem and if_inexact == "start again":
            reporter.message(f"{problem}: starts at step 0")
            return None
        if problem:
            raise InputError(problem)
        reporter.message(f"resumed from step {checkpoint.step}")
        return checkpoint

    def reopen(self, environment: Mapping[str, Any], checkpoint: Checkpoint | None) -> RunFolder:
        """Takes back what was written after the checkpoint, and begins to write.

        environment.json keeps what the run began on, and lists where it went on.
        """
        step = -1 if checkpoint is None else checkpoint.step
        discard_checkpoints(self.path, after=step)
        if checkpoint is not None:
            stored = read_environment(self.path)
            resumed = [*stored.get("resumed", []), {"step": step, **environment}]
            environment = {**stored, "resumed": resumed}
        return RunFolder.reopen(
            self.path,
            self.lock,
            self.config,
            environment,
            streams={} if checkpoint is None else checkpoint.streams,
        )


@contextmanager
def hold_earlier_run(
    config: StageConfig, reads: Mapping[str, str], reporter: Reporter, *, resume: bool
) -> Iterator[EarlierRun | None]:
    """Yields the run in the output folder, which nobody else can write meanwhile; None: no run.

    Args:
        config: The configuration now.
        reads: What the run reads, by fingerprint, and the configuration key that names it.
        reporter: Is told where there is no run, and where nothing is left to do.
        resume: Whether there may be one.

    Raises:
        InputError: The folder holds a run that is not to be resumed, one with other settings, a
            finished one without its results or no run, or is being written.
    """
    path = Path(config.run.output)
    if not resume:
        RunFolder.check_free(path, resumable=True)
    if not path.exists():
        if resume:
            reporter.message(f"no run in {path}: starts at step 0")
        yield None
        return
    if read_status(path) is None and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"run.output: must hold a run to go on with --resume, received {path}, which holds "
            f"something else; choose another --output"
        )
    with hold_run(path) as lock:
        stored = read_config(path)
        if stored is not None:
            _require_same_settings(path, stored, config)
        finished = read_status(path) == "finished"
        if finished:
            _require_results(path)
            reporter.message(f"nothing to do: the run in {path} is finished")
        yield EarlierRun(config, reads, lock, finished=finished)


def open_run(
    earlier: EarlierRun | None,
    config: StageConfig,
    environment: Mapping[str, Any],
    if_inexact: IfInexact,
    reporter: Reporter,
) -> tuple[RunFolder, Checkpoint | None]:
    """Returns the folder of the run, new or gone on with, and the checkpoint to go on from.

    Raises:
        InputError: The run would not go on as it began; nothing was changed then.
    """
    if earlier is None:
        return RunFolder.create(Path(config.run.output), config, environment), None
    checkpoint = earlier.find_checkpoint(environment, if_inexact, reporter)
    return earlier.reopen(environment, checkpoint), checkpoint


def keys_of_rows(data: DataConfig) -> str:
    """Returns the configuration keys that name where rows come from, as a refusal says them."""
    return "data.source" if data.validation is None else "data.source or data.validation"


def how_to_go_on(command: str, path: Path, step: int) -> str:
    """Returns what an interrupt says of the checkpoint that was written."""
    folder = shlex.quote(str(path))
    return (
        f"checkpoint of step {step} written; go on with: abcrl {command} --resume --output {folder}"
    )


@contextmanager
def telling_how_to_go_on(command: str, path: Path) -> Iterator[None]:
    """Has an interrupt of the block say from where the run can go on, unless it says why not."""
    try:
        yield
    except KeyboardInterrupt as stop:
        newest = newest_checkpoint(path)
        if newest is not None and not getattr(stop, "__notes__", []):
            step = int(newest.name.removeprefix("step-"))
            stop.add_note(how_to_go_on(command, path, step))
        raise


def _require_same_settings(path: Path, stored: str, config: StageConfig) -> None:
    differing = differing_settings(stored, to_yaml(config))
    if differing:
        raise InputError(
            f"run.output: must hold a run with these settings, received {path}, which ran with "
            f"others ({'; '.join(differing)}); resume it with those, or choose another --output"
        )


def _require_results(path: Path) -> None:
    for name in ("metrics.jsonl", "final"):
        if not (path / name).exists():
            raise InputError(
                f"run.output: a finished run must have its {name}, received {path} without it; "
                f"restore it, or choose another --output"
            )


def _no_usable_checkpoint(path: Path, reason: str) -> InputError:
    return InputError(
        f"run.output: must hold a checkpoint to go on from, received {path}, which holds "
        f"checkpoints, none usable ({reason}); restore the files, remove {path / 'checkpoints'} to "
        f"start at step 0, or choose another --output"
    )


def _what_differs(
    path: Path, now: Mapping[str, Any], reads: Mapping[str, str], *, exact: bool
) -> str:
    """Says why a run cannot go on as it began; empty where it can.

    Args:
        path: The run folder.
        now: What `describe_environment` says.
        reads: See `EarlierRun`.
        exact: Whether machine and software count too.
    """
    before = _last_environment(path)
    if before is None:
        return (
            f"run.output: environment.json must say on what the run began, received "
            f"{path / 'environment.json'}, which is damaged; restore it, or choose another --output"
        )
    problem = _other_inputs(path, before, now, reads)
    return problem or (_other_environment(path, before, now) if exact else "")


def _last_environment(path: Path) -> dict[str, Any] | None:
    """Returns what the run was last computed on; None where environment.json does not say it."""
    environment = read_environment(path)
    resumed = environment.get("resumed", [])
    if not isinstance(resumed, list):
        return None
    last = resumed[-1] if resumed else environment
    return last if isinstance(last, dict) and isinstance(last.get("fingerprints"), dict) else None


def _other_inputs(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], reads: Mapping[str, str]
) -> str:
    """Says what the run would read that it did not read before; empty where it is the same."""
    seen, found = before["fingerprints"], now["fingerprints"]
    for name, key in reads.items():
        if seen.get(name) != found.get(name):
            return (
                f"{key}: must be what the run in {path} began with (fingerprint {seen.get(name)}), "
                f"received something else ({found.get(name)}); restore it, or choose another "
                f"--output"
            )
    return ""


def _other_environment(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Says in what the machine or its software is another; empty where the bytes will be equal."""
    differing = differing_environment(before, now)
    if not differing:
        return ""
    return (
        f"run.output: the run in {path} must go on where it ran to end in the same bytes, received "
        f"something else ({'; '.join(differing)}); go back to that, or let the last digits "
        f"differ with --allow-inexact"
    )
