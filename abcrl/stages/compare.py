"""`abcrl compare`: arms and seeds in, one honest table out.

Trains SFT and reward model once, then every arm with every seed, each in a process of its own and a
run folder of its own, and compares. Finished runs are never repeated; a run that was cut off goes
on from its last checkpoint.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abcrl.analysis import Summary, result_rows, to_json
from abcrl.analysis.comparison import read_comparison
from abcrl.config import (
    Cell,
    CompareConfig,
    RunFailedError,
    plan_cells,
    shared_stages,
    to_yaml,
)
from abcrl.config.words import count
from abcrl.reporter import GridReporter
from abcrl.storage import (
    Look,
    append_look,
    read_status,
    write_atomically,
    write_json,
)

from .cells import run_cells, run_shared
from .comparison_folder import holding, require_own_folders, settle_in
from .engine import opened_engine
from .plan import is_finished, require_inputs


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
    config: CompareConfig, reporter: GridReporter, *, retry_failed: bool = False
) -> CompareResult:
    """Runs whatever of the comparison is not there yet, and writes table and figure.

    Args:
        config: Arms, seeds and the settings of the stages.
        reporter: Receives progress.
        retry_failed: Run failed cells again; otherwise they are reported and counted.

    Raises:
        InputError: The folder belongs to another configuration or to a running comparison, or there
            is no cluster to run on.
        RunFailedError: SFT or reward model could not be trained, or the results not be written.
    """
    folder = Path(config.output)
    cells = plan_cells(config)
    require_own_folders(config)
    if not is_finished(config):
        require_inputs(config, ask_hub=True)
    shared = [run for run in shared_stages(config) if run is not None]
    runs = [*(Path(run.run.output) for run in shared), *(cell.folder for cell in cells)]
    with holding(folder, runs):
        settle_in(config)
        write_atomically(folder / "config.yaml", to_yaml(config))
        (folder / "logs").mkdir(exist_ok=True)
        try:
            with opened_engine(config) as engine:
                for run in shared:
                    run_shared(run, folder / "logs", reporter, engine)
                reasons = run_cells(config, cells, reporter, engine, retry_failed=retry_failed)
        except KeyboardInterrupt as error:
            finished = sum(read_status(cell.folder) == "finished" for cell in cells)
            error.add_note(
                f"{finished} of {count(len(cells), 'cell')} finished; the same command goes on"
            )
            raise
        _name_left_out(folder, cells, reporter)
        try:
            return _conclude(config, reasons)
        except OSError as error:
            raise RunFailedError(
                f"results: {error.filename or folder} cannot be written ({error.strerror}); mend "
                f"that and call again: what is finished is not run again"
            ) from error


def _name_left_out(folder: Path, cells: Sequence[Cell], reporter: GridReporter) -> None:
    """Says that cells of earlier calls are there which this call did not name."""
    named = {cell.folder for cell in cells}
    others = [one for one in (folder / "cells").glob("*/*") if read_status(one) == "finished"]
    left_out = sum(one not in named for one in others)
    if left_out:
        reporter.message(
            f"cells: {left_out} more in {folder} are finished; results are of the arms and seeds "
            f"that this call names"
        )


def _conclude(config: CompareConfig, reasons: Mapping[str, str]) -> CompareResult:
    """Writes results.csv, summary.json, figures and report from whatever is there."""
    folder = Path(config.output)
    found = read_comparison(config, reasons)
    if found.usable:
        append_look(folder, Look.of(config))
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
