"""`abcrl compare`: arms and seeds in, one honest table out.

Trains SFT and reward model once, then every arm with every seed, each in a process of its own and a
run folder of its own, and compares. Finished runs are never repeated.
"""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from abcrl.analysis import ArmInfo, CellCurve, FailedCell, Summary, result_rows, summarise, to_json
from abcrl.config import (
    ArmConfig,
    CompareConfig,
    InputError,
    PpoConfig,
    RunConfig,
    RunFailedError,
    SftConfig,
    TrainRmConfig,
    differing_keys,
    to_yaml,
)
from abcrl.grid import GridProgress, Task, run_tasks
from abcrl.storage import (
    read_config,
    read_reason,
    read_rows,
    read_status,
    write_atomically,
    write_json,
)

from .reporter import Reporter, SilentReporter

# The stages, and torch with them, are imported by the workers only: once, by their fork server.
_PRELOAD = ("abcrl.stages.sft", "abcrl.stages.train_rm", "abcrl.stages.ppo")

StageRun = SftConfig | TrainRmConfig | PpoConfig


@dataclass(frozen=True)
class Cell:
    """One arm with one seed, and the run that it stands for."""

    arm: ArmConfig
    seed: int
    run: PpoConfig

    @property
    def key(self) -> str:
        """Names the cell in messages."""
        return f"{self.arm.name}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """The cell's run folder."""
        return Path(self.run.run.output)


@dataclass(frozen=True)
class CompareResult:
    """What a comparison leaves behind."""

    folder: Path
    summary: Summary
    figure: Path | None
    """PNG beside an SVG of the same name; None where no cell was evaluated."""


def run_compare(
    config: CompareConfig, reporter: Reporter, *, retry_failed: bool = False
) -> CompareResult:
    """Runs whatever of the comparison is not there yet, and writes table and figure.

    Args:
        config: Arms, seeds and the settings of the stages.
        reporter: Receives progress.
        retry_failed: Run failed cells again; otherwise they are reported and counted.

    Raises:
        InputError: The folder belongs to another configuration or to a running comparison.
        RunFailedError: SFT or reward model could not be trained.
    """
    folder = Path(config.output)
    sft, reward_model = shared_stages(config)
    cells = plan_cells(config)
    for run in (sft, reward_model, *(cell.run for cell in cells)):
        if run is not None:
            _require_same_configuration(run)
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        write_atomically(folder / "config.yaml", to_yaml(config))
        (folder / "logs").mkdir(exist_ok=True)
        for run in (sft, reward_model):
            if run is not None:
                _run_shared(run, reporter)
        _run_cells(config, cells, reporter, retry_failed=retry_failed)
        return _conclude(config, cells)


def shared_stages(config: CompareConfig) -> tuple[SftConfig | None, TrainRmConfig | None]:
    """Returns the runs that all cells share; None for a model that exists already."""
    folder = Path(config.output)
    machine = config.machine.model_dump()
    sft = reward_model = None
    if config.sft is not None:
        run = RunConfig(output=str(folder / "sft"), **machine)
        sft = SftConfig(run=run, **dict(config.sft))
    if config.train_rm is not None:
        run = RunConfig(output=str(folder / "reward-model"), **machine)
        policy = config.policy or str(folder / "sft" / "final")
        reward_model = TrainRmConfig(run=run, model=policy, **dict(config.train_rm))
    return sft, reward_model


def plan_cells(config: CompareConfig) -> list[Cell]:
    """Returns every cell, seed by seed, so that an early stop leaves whole pairs."""
    folder = Path(config.output)
    cells = []
    for seed in config.seeds:
        for arm in config.arms:
            run = RunConfig(
                output=str(folder / "cells" / arm.name / f"seed-{seed}"),
                seed=seed,
                **config.machine.model_dump(),
            )
            settings = arm.apply(config.ppo)
            ppo = PpoConfig(
                run=run,
                policy=config.policy or str(folder / "sft" / "final"),
                reward_model=config.reward_model or str(folder / "reward-model" / "final"),
                **dict(settings),
            )
            cells.append(Cell(arm, seed, ppo))
    return cells


def _require_same_configuration(run: StageRun) -> None:
    """Refuses a folder that holds a run of another configuration.

    Raises:
        InputError: Names the first keys that differ.
    """
    folder = Path(run.run.output)
    stored = read_config(folder)
    if stored is None or stored == to_yaml(run):
        return
    keys = differing_keys(stored, to_yaml(run))
    raise InputError(
        f"output: {folder} holds a run with other settings ({', '.join(keys[:3])}); choose another "
        f"folder with --output, or remove that one"
    )


def _exclusive(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"output: {folder} is being written by another abcrl compare; wait for it or choose "
            f"another folder with --output"
        ) from None
    return lock


def _run_stage(run: StageRun) -> None:
    """Runs one stage; the work of a worker process."""
    if isinstance(run, SftConfig):
        from .sft import run_sft

        run_sft(run, SilentReporter())
    elif isinstance(run, TrainRmConfig):
        from .train_rm import run_train_rm

        run_train_rm(run, SilentReporter())
    else:
        from .ppo import run_ppo

        run_ppo(run, SilentReporter())


def _run_shared(run: SftConfig | TrainRmConfig, reporter: Reporter) -> None:
    folder = Path(run.run.output)
    name = folder.name
    if read_status(folder) == "finished":
        reporter.message(f"{name}: finished before")
        return
    _clear(folder, reporter)
    reporter.start(f"training {name}", 1)
    task = Task(name, _run_stage, (run,), folder.parent / "logs" / f"{name}.txt")
    [result] = run_tasks([task], jobs=1, preload=_PRELOAD)
    if result.failure is not None:
        raise RunFailedError(f"{name}: {result.failure}; see {task.log}")
    reporter.advance(1, {})


def _run_cells(
    config: CompareConfig, cells: Sequence[Cell], reporter: Reporter, *, retry_failed: bool
) -> None:
    """Runs the cells that are not there yet."""
    final = {"finished"} if retry_failed else {"finished", "failed"}
    waiting = [cell for cell in cells if read_status(cell.folder) not in final]
    if not waiting:
        reporter.message(f"cells: all {len(cells)} were finished before")
        return
    logs = Path(config.output) / "logs"
    tasks = []
    for cell in waiting:
        _clear(cell.folder, reporter)
        log = logs / f"{cell.arm.name}-seed-{cell.seed}.txt"
        tasks.append(Task(cell.key, _run_stage, (cell.run,), log))
    watch = _Watch(waiting, config.ppo.steps, reporter)
    jobs = config.jobs or os.cpu_count() or 1
    results = run_tasks(tasks, jobs=jobs, preload=_PRELOAD, watch=watch)
    for cell, result in zip(waiting, results, strict=True):
        if result.failure is not None:
            reporter.message(f"{cell.key} failed: {result.failure}")


def _clear(folder: Path, reporter: Reporter) -> None:
    """Removes what an unfinished run left, which then starts again from its first step."""
    if folder.exists():
        reporter.message(f"{folder.name}: unfinished ({read_status(folder)}), starts again")
        shutil.rmtree(folder)


class _Watch:
    """Turns the cells' own files into progress over the whole grid, in PPO steps."""

    def __init__(self, cells: Sequence[Cell], steps: int, reporter: Reporter) -> None:
        self._folders = {cell.key: cell.folder for cell in cells}
        self._steps = steps
        self._reporter = reporter
        self._started = False

    def __call__(self, progress: GridProgress) -> None:
        if not self._started:
            self._reporter.start(f"{len(self._folders)} cells", len(self._folders) * self._steps)
            self._started = True
        done = len(progress.results) * self._steps
        done += sum(_steps_done(self._folders[key]) for key in progress.running)
        failed = sum(not result.succeeded for result in progress.results)
        numbers = {"finished": len(progress.results) - failed, "running": len(progress.running)}
        if failed:
            numbers["failed"] = failed
        self._reporter.advance(done, numbers)


def _steps_done(folder: Path) -> int:
    rows = read_rows(folder, "metrics")
    return int(rows[-1]["step"]) if rows else 0


def _conclude(config: CompareConfig, cells: Sequence[Cell]) -> CompareResult:
    """Writes results.csv, summary.json and the figure from whatever is there."""
    folder = Path(config.output)
    arms = [_describe(cell) for cell in cells if cell.seed == config.seeds[0]]
    curves, failed = [], []
    for cell in cells:
        status = read_status(cell.folder) or "missing"
        if status == "finished":
            rows = read_rows(cell.folder, "metrics")
            curves.append(CellCurve.from_rows(cell.arm.name, cell.seed, rows))
        else:
            reason = read_reason(cell.folder)
            failed.append(FailedCell(cell.arm.name, cell.seed, status, reason))
    contrasts = [(one.arm, one.baseline) for one in config.declared_contrasts]
    summary = summarise(arms, curves, contrasts, failed)
    write_atomically(folder / "results.csv", _csv(result_rows(summary)))
    write_json(folder / "summary.json", to_json(summary))
    figure = None
    if curves:
        from abcrl.analysis.figures import plot_learning_curves  # matplotlib, only when it draws

        figure, _ = plot_learning_curves(arms, curves, folder / "learning-curves")
    return CompareResult(folder, summary, figure)


def _describe(cell: Cell) -> ArmInfo:
    reward = cell.run.reward
    return ArmInfo(
        name=cell.arm.name,
        mode=reward.mode.value,
        beta=reward.effective_beta,
        gae_lambda=cell.run.ppo.gae_lambda,
    )


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
