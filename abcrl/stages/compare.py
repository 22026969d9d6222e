"""`abcrl compare`: arms and seeds in, one honest table out.

Trains SFT and reward model once, then every arm with every seed, each in a process of its own and a
run folder of its own, and compares. Finished runs are never repeated; a run that was cut off goes
on from its last checkpoint.
"""

import csv
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abcrl.analysis import Summary, result_rows, to_json
from abcrl.analysis.comparison import read_comparison
from abcrl.config import (
    Cell,
    CompareConfig,
    InputError,
    RunFailedError,
    SftConfig,
    StageRun,
    TrainRmConfig,
    plan_cells,
    shared_stages,
    to_yaml,
)
from abcrl.grid import GridProgress, Task, default_jobs, run_tasks
from abcrl.reporter import Reporter, SilentReporter
from abcrl.storage import (
    discard_checkpoints,
    newest_checkpoint,
    read_last_row,
    read_status,
    write_atomically,
    write_json,
)

from .comparison_folder import holding
from .plan import is_finished, require_inputs, require_own_folders

# The stages, and torch with them, are imported by the workers only: once, by their fork server.
_PRELOAD = ("abcrl.stages.sft", "abcrl.stages.train_rm", "abcrl.stages.ppo")
# Marks what a stage says in a worker's log, where whatever libraries print is too.
_SAID = "abcrl: "


@dataclass(frozen=True)
class CompareResult:
    """What a comparison leaves behind."""

    folder: Path
    summary: Summary
    figure: Path | None
    """PNG beside an SVG of the same name; None where no cell was evaluated."""
    report: Path
    """All of it as one page."""


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
    cells = plan_cells(config)
    require_own_folders(config)
    if not is_finished(config):
        require_inputs(config, ask_hub=True)
    shared = [run for run in shared_stages(config) if run is not None]
    runs = [*(Path(run.run.output) for run in shared), *(cell.folder for cell in cells)]
    with holding(folder, runs):
        write_atomically(folder / "config.yaml", to_yaml(config))
        (folder / "logs").mkdir(exist_ok=True)
        for run in shared:
            _run_shared(run, reporter)
        reasons = _run_cells(config, cells, reporter, retry_failed=retry_failed)
        return _conclude(config, reasons)


def _run_stage(run: StageRun) -> None:
    """Runs one stage, or goes on with it; the work of a worker process."""
    folder = Path(run.run.output)
    if isinstance(run, SftConfig):
        from .sft import run_sft

        run_sft(run, _LogReporter(), resume=folder.exists(), if_inexact="start again")
    elif isinstance(run, TrainRmConfig):
        from .train_rm import run_train_rm

        run_train_rm(run, _LogReporter(), resume=folder.exists(), if_inexact="start again")
    else:
        from .ppo import run_ppo

        run_ppo(run, _LogReporter(), resume=folder.exists(), if_inexact="start again")
    discard_checkpoints(folder)  # nobody goes on with a run that is finished


class _LogReporter(SilentReporter):
    """A worker's progress is in its files; its messages go to its log, which is its stdout."""

    def message(self, text: str) -> None:
        sys.stdout.write(f"{_SAID}{text}\n")


class _Log:
    """What a worker says from now on, found among whatever else is printed to its log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def messages(self) -> list[str]:
        """Returns the messages of its stage."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._begin)
            lines = file.read().decode(errors="replace").splitlines()
        return [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]


def _run_shared(run: SftConfig | TrainRmConfig, reporter: Reporter) -> None:
    folder = Path(run.run.output)
    name = folder.name
    if read_status(folder) == "finished":
        reporter.message(f"{name}: finished before")
        return
    _prepare(name, folder, reporter)
    reporter.start(f"training {name}", 1)
    task = Task(name, _run_stage, (run,), folder.parent / "logs" / f"{name}.txt")
    log = _Log(folder.parent / "logs" / f"{name}.txt")

    def watch(progress: GridProgress) -> None:
        row = read_last_row(folder, "metrics") or {}
        shown = {"step": row.get("step"), "loss": row.get("train/loss")}
        known = {key: value for key, value in shown.items() if value is not None}
        reporter.advance(len(progress.results), known)

    [result] = run_tasks([task], jobs=1, preload=_PRELOAD, watch=watch)
    for text in log.messages():
        reporter.message(f"{name}: {text}")
    if result.refused:
        raise InputError(f"{name}: {result.failure}")
    if result.failure is not None:
        raise RunFailedError(f"{name}: {result.failure}; see {task.log}")


def _run_cells(
    config: CompareConfig, cells: Sequence[Cell], reporter: Reporter, *, retry_failed: bool
) -> dict[str, str]:
    """Runs the cells that are not there yet; returns why some failed, by cell key."""
    final = {"finished"} if retry_failed else {"finished", "failed"}
    waiting = [cell for cell in cells if read_status(cell.folder) not in final]
    if not waiting:
        reporter.message(f"cells: all {len(cells)} were finished before")
        return {}
    logs = Path(config.output) / "logs"
    tasks, said = [], []
    for cell in waiting:
        _prepare(cell.key, cell.folder, reporter)
        log = logs / f"{cell.arm.name}-seed-{cell.seed}.txt"
        tasks.append(Task(cell.key, _run_stage, (cell.run,), log))
        said.append(_Log(log))
    watch = _Watch(waiting, config.ppo.steps, reporter)
    jobs = config.jobs or default_jobs(config.machine.device)
    results = run_tasks(tasks, jobs=jobs, preload=_PRELOAD, watch=watch)
    first, *others = [log.messages() for log in said]
    for text in first:  # what is so of data and models is so in every cell
        if all(text in one for one in others):
            reporter.message(f"{'each cell' if others else waiting[0].key}: {text}")
    reasons = {one.key: one.failure for one in results if one.failure is not None}
    for key, reason in reasons.items():
        reporter.message(f"{key} failed: {reason}")
    return reasons


def _prepare(name: str, folder: Path, reporter: Reporter) -> None:
    """Leaves what a run can go on from, and removes what it cannot."""
    newest = newest_checkpoint(folder)
    if newest is None:
        _clear(name, folder, reporter)
    else:  # what else may be in the way, the run's own process knows: see its log
        status = read_status(folder)
        reporter.message(f"{name}: unfinished ({status}), goes on from {newest.name} if it can")


def _clear(name: str, folder: Path, reporter: Reporter) -> None:
    """Removes what an unfinished run left, which then starts again from its first step."""
    if folder.exists():
        reporter.message(f"{name}: unfinished ({read_status(folder)}), starts again")
        for path in sorted(folder.iterdir()):
            # The lock goes last: a folder that has one is a run of ours, however little is left.
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        shutil.rmtree(folder)


class _Watch:
    """Turns the cells' own files into progress over the whole grid, in PPO steps."""

    def __init__(self, cells: Sequence[Cell], steps: int, reporter: Reporter) -> None:
        self._folders = {cell.key: cell.folder for cell in cells}
        self._steps = steps
        self._reporter = reporter
        reporter.start(f"PPO steps of {len(cells)} cells", len(cells) * steps)

    def __call__(self, progress: GridProgress) -> None:
        done = len(progress.results) * self._steps
        done += sum(_steps_done(self._folders[key]) for key in progress.running)
        failed = sum(not result.succeeded for result in progress.results)
        numbers = {"finished": len(progress.results) - failed, "running": len(progress.running)}
        if failed:
            numbers["failed"] = failed
        self._reporter.advance(done, numbers)


def _steps_done(folder: Path) -> int:
    row = read_last_row(folder, "metrics")
    return 0 if row is None else int(row["step"])


def _conclude(config: CompareConfig, reasons: Mapping[str, str]) -> CompareResult:
    """Writes results.csv, summary.json, figures and report from whatever is there."""
    folder = Path(config.output)
    found = read_comparison(config, reasons)
    write_atomically(folder / "results.csv", _csv(result_rows(found.summary)))
    write_json(folder / "summary.json", to_json(found.summary))
    from abcrl.tools.report import write_report  # matplotlib, only when it draws

    report = write_report(folder)
    figure = folder / "learning-curves.png" if found.usable else None
    return CompareResult(folder, found.summary, figure, report)


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
