"""The tables that `abcrl compare` prints."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from .secondary_table import explain_secondary, say_difference, secondary_table

if TYPE_CHECKING:
    from abcrl.analysis.cells import CellResult
    from abcrl.analysis.collect import ArmSummary, SeedSpread, Summary
    from abcrl.stages.compare import CompareResult

# Columns that no terminal limits: what is piped or redirected is not cut.
_ELSEWHERE = 160
# The longest baseline that a column is headed with.
_HEADED = 16
# What a table puts around the content of each column.
_AROUND = 3


def print_comparison(result: "CompareResult") -> None:
    """Prints arms, per-seed values, verdicts, failed cells and where everything is."""
    console = Console(highlight=False, markup=False)
    summary = result.summary
    # Words wrap on a terminal; elsewhere a line stays a line.
    whole = not console.is_terminal
    if whole:
        console.width = max(console.width, _ELSEWHERE)
    console.print(arms_table(summary))
    console.print()
    for table in per_seed_tables(summary, console.width):
        console.print(table)
    secondary = secondary_table(summary)
    if secondary is not None:
        console.print(secondary)
    for line in explain_secondary(summary):
        console.print(line, soft_wrap=whole)
    console.print()
    for verdict in summary.verdicts:
        console.print(f"Verdict: {verdict}", soft_wrap=whole)
    for line in say_lost(summary):
        console.print(line, soft_wrap=whole)
    console.print(f"\nresults  {result.folder}", soft_wrap=True)
    if result.figure is not None:
        console.print(f"figure   {result.figure} (and .svg)", soft_wrap=True)
    console.print(f"report   {result.report}", soft_wrap=True)


def say_lost(summary: "Summary") -> list[str]:
    """Returns which cells have no result, why, and how they get one."""
    lines = [
        f"{cell.status}: {cell.arm.name} seed {cell.seed}: {cell.reason or 'no reason known'}"
        for cell in summary.failed
    ]
    states = {cell.status for cell in summary.failed} - {"running"}
    if "failed" in states:
        lines.append("failed cells run again with --retry-failed")
    others = " and ".join(sorted(states - {"failed"}))
    if others:
        lines.append(f"{others} cells go on, or run again, with the next call")
    return lines


def arms_table(summary: "Summary") -> Table:
    """Returns what the arms reached; over how many seeds, where cells have no result."""
    title = "AUC: mean held-out score over training, mean over seeds"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("arm", overflow="fold")
    for column in ("beta", "lambda"):
        table.add_column(column, no_wrap=True)
    lost = bool(summary.failed)
    if lost:
        table.add_column("seeds", justify="right", no_wrap=True)
    one_baseline = summary.baseline is not None and len(summary.baseline) <= _HEADED
    against = f"AUC - {summary.baseline}" if one_baseline else "difference"
    gold = any("gold_score" in arm.finals for arm in summary.arms)
    columns = ["AUC", against, "final", *(["gold"] if gold else []), "KL"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for arm in summary.arms:
        row = [_number(arm.auc.mean), _difference(summary, arm)]
        row.append(_number(_mean(arm.finals.get("score"))))
        if gold:
            row.append(_number(_mean(arm.finals.get("gold_score"))))
        row.append(_number(_mean(arm.finals.get("kl_exact")), "{:.1f}"))
        beta = "-" if arm.arm.beta is None else f"{arm.arm.beta:g}"
        seeds = [str(len(arm.seeds))] if lost else []
        table.add_row(arm.arm.name, beta, f"{arm.arm.gae_lambda:g}", *seeds, *row)
    table.caption = _caption(summary)
    table.caption_justify = "left"
    return table


def _caption(summary: "Summary") -> str:
    parts = []
    if any(one.interval is not None for one in summary.differences.values()):
        parts.append("difference: paired over seeds, with its 95 % Student t interval")
    baselines = dict.fromkeys(summary.baselines.values())
    if baselines and (len(baselines) > 1 or len(next(iter(baselines))) > _HEADED):
        where = ", at each point of the sweep" if len(baselines) > 1 else ""
        parts.append(f"against {next(iter(baselines)).partition('@')[0]}{where}")
    if summary.baseline_score is not None:
        text = f"the SFT model scores {summary.baseline_score:+.2f}"
        if summary.baseline_gold_score is not None:
            text += f" (gold {summary.baseline_gold_score:+.2f})"
        parts.append(text)
    return "; ".join(parts)


def per_seed_tables(summary: "Summary", width: int) -> list[Table]:
    """Returns the AUC of every cell: a column a seed, in as many tables as the width takes.

    Args:
        summary: Of the comparison.
        width: Characters of a line. Long names of arms are folded to a third of it.
    """
    seeds = sorted({cell.seed for cell in summary.cells})
    values = {(cell.arm.name, cell.seed): cell for cell in summary.cells}
    longest = min(width // 3, max(len(arm.arm.name) for arm in summary.arms))
    column = _AROUND + max(len(f"seed {seed}") for seed in seeds)
    column = max([column, *(_AROUND + len(_say_cell(cell)) for cell in summary.cells)])
    left = width - (longest + _AROUND) - (len("median") + _AROUND) - 1
    abreast = max(1, left // column)
    tables = []
    for start in range(0, len(seeds), abreast):
        some = seeds[start : start + abreast]
        last = start + abreast >= len(seeds)
        title = "AUC of each seed" if start == 0 else None
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("arm", overflow="fold", max_width=longest)
        for name in (*(f"seed {seed}" for seed in some), *(["median"] if last else [])):
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        for arm in summary.arms:
            cells = [values.get((arm.arm.name, seed)) for seed in some]
            shown = ["" if cell is None else _say_cell(cell) for cell in cells]
            table.add_row(arm.arm.name, *shown, *([_number(arm.auc.median)] if last else []))
        tables.append(table)
    if any(arm.collapsed for arm in summary.arms):
        tables[-1].caption_justify = "left"
        tables[
            -1
        ].caption = (
            "* collapsed: ended below the SFT model, or its KL cannot be one; counts like others"
        )
    return tables


def _say_cell(cell: "CellResult") -> str:
    if not cell.finished:
        return cell.status
    return f"{_number(cell.auc)}{'*' if cell.collapsed else ''}"


def _difference(summary: "Summary", arm: "ArmSummary") -> str:
    found = summary.differences.get(arm.arm.name)
    return "" if found is None else say_difference(found, 2)


def _mean(spread: "SeedSpread | None") -> float | None:
    return None if spread is None else spread.mean


def _number(value: float | None, form: str = "{:+.2f}") -> str:
    return "" if value is None else form.format(value)
