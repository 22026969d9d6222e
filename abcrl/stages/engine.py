"""Where the runs of a comparison are computed: in processes of this machine, or on a Ray cluster.

Neither changes a result, nor what a later call finds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from abcrl.config import CompareConfig, StageRun, to_yaml
from abcrl.config.relocation import named_paths, relocate
from abcrl.grid import (
    Files,
    GridProgress,
    Needs,
    Task,
    TaskResult,
    connected,
    default_jobs,
    run_tasks,
    run_tasks_on_ray,
)
from abcrl.storage.moving import restate_config

from .plan import is_finished

# The stages, and torch with them, are imported by the workers only: once, by their fork server.
_PRELOAD = ("abcrl.stages.sft", "abcrl.stages.train_rm", "abcrl.stages.ppo")
# What people see of a run that is under way.
_FOLLOWED = ("status.json", "metrics.jsonl", "timings.jsonl")


class Engine(Protocol):
    """Runs tasks, each in a process of its own, and returns how they ended; see `run_tasks`."""

    def __call__(
        self, tasks: Sequence[Task], *, watch: Callable[[GridProgress], None]
    ) -> list[TaskResult]:
        """Runs the tasks."""
        ...


@contextmanager
def opened_engine(config: CompareConfig) -> Iterator[Engine]:
    """Gives what runs the stages of a comparison; a cluster only if there is something to run.

    Raises:
        InputError: Ray is not installed, or no cluster can be reached.
    """
    if config.grid.engine == "local" or is_finished(config):
        jobs = config.grid.jobs or default_jobs(config.machine.device)
        yield partial(run_tasks, jobs=jobs, preload=_PRELOAD)
        return
    gpu = None if config.machine.device == "auto" else config.machine.device == "cuda"
    needs = Needs(config.machine.threads, gpu)
    with connected(config.grid.address):
        yield partial(run_tasks_on_ray, jobs=config.grid.jobs, needs=needs, preload=_PRELOAD)


def stage_task(key: str, work: Callable[[StageRun], None], run: StageRun, log: Path) -> Task:
    """Returns the task of one run, for any engine.

    Args:
        key: Names it in results and progress.
        work: The module-level function that runs a stage.
        run: Its argument.
        log: See `Task`.
    """
    output = Path(run.run.output)
    reads = tuple(path for path in named_paths(run) if path != output)
    return Task(key, work, (run,), log, Files(output, reads, _FOLLOWED, _relocate, _restate))


def _relocate(args: tuple[Any, ...], places: Mapping[Path, Path]) -> tuple[Any, ...]:
    [run] = args
    return (relocate(run, places),)


def _restate(folder: Path, args: tuple[Any, ...]) -> None:
    [run] = args
    restate_config(folder, to_yaml(run))
