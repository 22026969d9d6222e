"""Runs what a comparison consists of and has not yet: the shared stages, then the cells.

Each in a process of its own and a run folder of its own; what was cut off goes on from its last
checkpoint.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from abcrl.config import (
    Cell,
    CompareConfig,
    InputError,
    RunFailedError,
    SftConfig,
    StageRun,
    TrainRmConfig,
)
from abcrl.grid import GridProgress
from abcrl.reporter import GridReporter
from abcrl.storage import (
    discard_checkpoints,
    hold_run,
    newest_checkpoint,
    read_last_row,
    read_status,
)

from .cell_states import CellStates
from .engine import Engine, stage_task
from .worker_log import WorkerLog, WorkerReporter


def run_stage(run: StageRun) -> None:
    """Runs one stage, or goes on with it; the work of a worker process."""
    folder = Path(run.run.output)
    reporter = WorkerReporter()
    if isinstance(run, SftConfig):
        from .sft import run_sft

        run_sft(run, reporter, resume=folder.exists(), if_inexact="start again")
    elif isinstance(run, TrainRmConfig):
        from .train_rm import run_train_rm

        run_train_rm(run, reporter, resume=folder.exists(), if_inexact="start again")
    else:
        from .ppo import run_ppo

        run_ppo(run, reporter, resume=folder.exists(), if_inexact="start again")
    discard_checkpoints(folder)  # nobody goes on with a run that is finished


def run_shared(
    run: SftConfig | TrainRmConfig, logs: Path, reporter: GridReporter, engine: Engine
) -> None:
    """Trains a model that all cells share, unless it is there.

    Args:
        run: The stage.
        logs: Folder of the workers' logs.
        reporter: Receives progress.
        engine: Runs it.

    Raises:
        InputError: The stage refused its input.
        RunFailedError: It could not be trained.
    """
    folder = Path(run.run.output)
    name = folder.name
    if read_status(folder) == "finished":
        discard_checkpoints(folder)  # a kill may have come between the two
        reporter.message(f"{name}: finished before")
        return
    _prepare(name, folder, reporter)
    log = WorkerLog(logs / f"{name}.txt")
    reporter.start(f"training {name}", 0)
    known_total = 0

    def watch(_: GridProgress) -> None:
        nonlocal known_total
        total = log.total()
        if total != known_total:
            reporter.start(f"training {name}", total)
            known_total = total
        row = read_last_row(folder, "metrics") or {}
        loss = row.get("train/loss")
        reporter.advance(int(row.get("step", 0)), {} if loss is None else {"loss": loss})

    [result] = engine([stage_task(name, run_stage, run, log.path)], watch=watch)
    for text in log.messages():
        reporter.message(f"{name}: {text}")
    if result.refused:
        raise InputError(f"{name}: {result.failure}")
    if result.failure is not None:
        raise RunFailedError(f"{name}: {result.failure}; see {log.path}")


def run_cells(
    config: CompareConfig,
    cells: Sequence[Cell],
    reporter: GridReporter,
    engine: Engine,
    *,
    retry_failed: bool,
) -> dict[str, str]:
    """Runs the cells that are not there yet; returns why some failed, by cell key."""
    final = {"finished"} if retry_failed else {"finished", "failed"}
    states = {cell.key: read_status(cell.folder) for cell in cells}
    waiting = [cell for cell in cells if states[cell.key] not in final]
    for cell in cells:
        if states[cell.key] == "finished":
            discard_checkpoints(cell.folder)
    _tell_before(list(states.values()), reporter, retry_failed=retry_failed)
    if not waiting:
        return {}
    tasks, logs = [], []
    for cell in waiting:
        _prepare(cell.key, cell.folder, reporter)
        log = WorkerLog(Path(config.output) / "logs" / f"{cell.arm.name}-seed-{cell.seed}.txt")
        tasks.append(stage_task(cell.key, run_stage, cell.run, log.path))
        logs.append(log)
    results = engine(tasks, watch=CellStates(cells, waiting, reporter).watch)
    _relay(waiting, logs, reporter)
    reasons = {one.key: one.failure for one in results if one.failure is not None}
    for key, reason in reasons.items():
        reporter.message(f"{key} failed: {reason}")
    return reasons


def _tell_before(
    states: Sequence[str | None], reporter: GridReporter, *, retry_failed: bool
) -> None:
    """Says what of the cells is there, and what becomes of those that failed."""
    finished, failed = states.count("finished"), states.count("failed")
    if finished == len(states):
        reporter.message(f"cells: all {finished} were finished before")
    elif finished or failed:
        fate = "" if retry_failed else "; --retry-failed runs failed ones again"
        failures = f", {failed} failed{fate}" if failed else ""
        reporter.message(f"cells: {finished} of {len(states)} finished before{failures}")


def _relay(cells: Sequence[Cell], logs: Sequence[WorkerLog], reporter: GridReporter) -> None:
    """Tells once what every cell has said: of data and models, what is so in one is so in all."""
    first, *others = [log.messages() for log in logs]
    for text in first:
        if all(text in one for one in others):
            reporter.message(f"{'each cell' if others else cells[0].key}: {text}")


def _prepare(name: str, folder: Path, reporter: GridReporter) -> None:
    """Leaves what a run can go on from, and removes what it cannot."""
    newest = newest_checkpoint(folder)
    if newest is None:
        _clear(name, folder, reporter)
    else:  # what else may be in the way, the run's own process knows: see its log
        status = read_status(folder)
        reporter.message(f"{name}: unfinished ({status}), goes on from {newest.name} if it can")


def _clear(name: str, folder: Path, reporter: GridReporter) -> None:
    """Removes what an unfinished run left, which then starts again from its first step.

    Raises:
        InputError: Another process has begun to write there.
    """
    if not folder.exists():
        return
    reporter.message(f"{name}: unfinished ({read_status(folder)}), starts again")
    with hold_run(folder):
        for path in sorted(folder.iterdir()):
            # The lock goes last: a folder that has one is a run of ours, however little is left.
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        shutil.rmtree(folder)
