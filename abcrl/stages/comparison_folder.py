"""The folder of a comparison: whose it is, one writer, and no trace of one that was refused."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from abcrl.config import (
    CompareConfig,
    InputError,
    PpoConfig,
    StageRun,
    differing_settings,
    load_config,
    runs_by_stage,
    to_yaml,
)
from abcrl.config.relocation import follow_move
from abcrl.storage import LOOKS, hold_run, read_config, read_status, sweep
from abcrl.storage.moving import restate_config

# What a comparison writes beside its runs and after its config.yaml, figures by name.
_WRITTEN = ("logs", "results.csv", "summary.json", "report.html", LOOKS)
_FIGURES = (
    "learning-curves",
    "training-path",
    "paired-differences",
    "credit-profile",
    "sweep-*",
    "against-*",
)


def require_own_folders(config: CompareConfig, *, may_be_at_work: bool = False) -> None:
    """Refuses to go on in folders that are in use, hold other settings, or are no runs at all.

    Unfinished runs go on or are removed, so whatever stands in their place has to be ours.

    Args:
        config: The comparison.
        may_be_at_work: Runs may be under way; for who only looks.

    Raises:
        InputError: Names the run and, for other settings, the first keys that differ.
    """
    foreign = _why_no_comparison(Path(config.output))
    if foreign:
        raise InputError(
            f"output: must be new or hold a comparison, received {config.output}, which holds "
            f"{foreign}; choose another --output"
        )
    for run in chain.from_iterable(runs_by_stage(config).values()):
        problem = _why_not_ours(run, may_be_at_work=may_be_at_work)
        if problem:
            raise InputError(
                f"output: {config.output} cannot hold this comparison: "
                f"{_folder(run).relative_to(config.output)} {problem}"
            )
    require_models_of_finished_runs(config)


def require_models_of_finished_runs(config: CompareConfig) -> None:
    """Refuses to train a model again that finished runs rest on: it could be another one.

    Cells that are left would then be paired with cells of the old one.

    Raises:
        InputError: Names the model, and the runs.
    """
    stages = list(runs_by_stage(config).values())
    for place, runs in enumerate(stages):
        gone = next((_folder(run) for run in runs if read_status(_folder(run)) != "finished"), None)
        later = [_folder(run) for run in chain.from_iterable(stages[place + 1 :])]
        resting = [folder for folder in later if read_status(folder) == "finished"]
        if gone is not None and resting:
            others = f" and {len(resting) - 1} more" if len(resting) > 1 else ""
            raise InputError(
                f"output: {gone} must be the finished run that "
                f"{resting[0].relative_to(config.output)}{others} began with, received "
                f"{read_status(gone) or 'none'}; restore it, remove them, or choose another "
                f"--output"
            )


def _why_no_comparison(folder: Path) -> str:
    """Says what stands where a comparison writes; empty where nothing does, or one is there."""
    something = "something else"
    if (folder / "status.json").exists():
        return something
    if not (folder / "config.yaml").exists():
        figures = (f"{name}.{kind}" for name in _FIGURES for kind in ("png", "svg"))
        is_free = not any(any(folder.glob(name)) for name in (*_WRITTEN, *figures))
        return "" if is_free else something
    try:
        load_config(CompareConfig, file=folder / "config.yaml")
    except InputError as error:
        return f"a config.yaml that is none of this version's ({str(error).splitlines()[0]})"
    return ""


def _why_not_ours(run: StageRun, *, may_be_at_work: bool) -> str:
    """Says what is wrong with the folder of a run; empty where it is absent or ours."""
    folder = _folder(run)
    status, stored = read_status(folder), _where_it_is_now(run)
    if status == "running" and not may_be_at_work:
        return "is being written by another process; wait for it or choose another --output"
    differing = [] if stored is None else differing_settings(stored, to_yaml(run), free=())
    if differing:
        # A model that all cells rest on cannot go without them; an arm can.
        rest = "the whole comparison" if not isinstance(run, PpoConfig) else f"{folder.parent}"
        rename = "give the arm another name, " if isinstance(run, PpoConfig) else ""
        return (
            f"ran with other settings ({', '.join(differing[:3])}); {rename}choose another "
            f"--output, or remove {rest}"
        )
    if status is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return "is there and is no run; move it away or choose another --output"
    return ""


def _where_it_is_now(run: StageRun) -> str | None:
    """Returns what a run folder records, with the paths of today if the comparison was moved."""
    stored = read_config(_folder(run))
    try:
        recorded = load_config(type(run), file=_folder(run) / "config.yaml")
    except InputError:  # there is none, or it says what is wrong with it where it is compared
        return stored
    return to_yaml(follow_move(recorded, Path(recorded.run.output), run, _folder(run)))


def settle_in(config: CompareConfig) -> None:
    """Has the runs of a comparison that was moved or copied know where they are.

    Args:
        config: The comparison, whose folder the caller holds, and whose runs are its own (see
            `require_own_folders`).

    Raises:
        InputError: Another process writes to one of them.
    """
    for run in chain.from_iterable(runs_by_stage(config).values()):
        stored, now = read_config(_folder(run)), _where_it_is_now(run)
        if now is not None and now != stored:
            with hold_run(_folder(run)):
                restate_config(_folder(run), now)


def _folder(run: StageRun) -> Path:
    return Path(run.run.output)


@contextmanager
def holding(folder: Path, runs: Sequence[Path]) -> Iterator[None]:
    """Makes the folder and holds its lock; what is refused before any run began leaves no trace.

    Args:
        folder: The comparison's folder; whoever gave it may keep files of their own there.
        runs: The folders of its runs.

    Raises:
        InputError: Another process holds it, or it cannot be written.
    """
    new = [path for path in (folder / ".lock", folder, *folder.parents) if not path.exists()]
    with _exclusive(folder):
        fresh = not (folder / "config.yaml").exists()
        if not fresh:
            sweep(folder)
        try:
            yield
        except InputError:
            if fresh and all(read_status(run) is None for run in runs):
                _remove_traces(folder, new)
            raise


def _exclusive(folder: Path) -> AbstractContextManager[object]:
    """Makes the folder and takes its lock, which the returned context manager lets go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"output: {folder} is being written by another abcrl compare; wait for it or choose "
            f"another folder with --output"
        ) from None
    except OSError as error:
        raise InputError(
            f"output: the folder must be writable, received {folder} ({error.strerror}); choose "
            f"another with --output"
        ) from None


def _remove_traces(folder: Path, new: Sequence[Path]) -> None:
    """Removes what this call wrote and made: the folders of `new`, innermost first, if empty."""
    (folder / "config.yaml").unlink(missing_ok=True)
    shutil.rmtree(folder / "logs", ignore_errors=True)  # had it been there: no new comparison
    for path in new:
        with suppress(OSError):  # somebody keeps something there
            path.unlink() if path.name == ".lock" else path.rmdir()
