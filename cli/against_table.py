"""The table that `abcrl compare --against` prints."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from abcrl.analysis.contrasts import PairedContrast
    from abcrl.analysis.reference_curves import ArmCurves, CurveComparison
    from abcrl.stages.reference import AgainstResult

_NOTE = (
    "Training scores are those of the batches trained on. Their AUC is not this comparison's "
    "endpoint, which is the held-out score; other models and data have other scales, so levels "
    "compare only where these are the same."
)


def print_against(result: "AgainstResult") -> None:
    """Prints both sides of every arm, what the numbers are not, and where the figure is."""
    console = Console(highlight=False)
    whole = not console.is_terminal
    compared = result.compared
    console.print()
    console.print(_both_sides(compared))
    console.print(_NOTE, markup=False, soft_wrap=whole)
    for line in _remarks(compared):
        console.print(line, markup=False, soft_wrap=whole)
    console.print(f"\nfigure   {result.figure} (and .svg)", markup=False, soft_wrap=True)


def _both_sides(compared: "CurveComparison") -> Table:
    last = min(10, compared.steps)
    title = f"Mean training score of steps 1 to {compared.steps}, mean over seeds"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("arm", "source"):
        table.add_column(column, no_wrap=True)
    against = f"AUC - {compared.baseline}" if compared.baseline else "difference"
    for column in ("seeds", "AUC", f"last {last}", against):
        table.add_column(column, justify="right", no_wrap=True)
    for one in compared.arms:
        table.add_row(one.arm.name, "here", *_numbers(one.ours))
        if one.theirs is not None:
            other = "" if one.counterpart == one.arm.name else f" ({one.counterpart})"
            table.add_row("", f"there{other}", *_numbers(one.theirs))
    table.caption = f"there: {compared.reference.name} of {compared.reference.file}"
    table.caption_justify = "left"
    return table


def _numbers(side: "ArmCurves") -> list[str]:
    means = [f"{value:+.2f}" for value in (side.auc, side.last)]
    return [str(len(side.runs)), *means, _difference(side.difference)]


def _difference(contrast: "PairedContrast | None") -> str:
    if contrast is None or contrast.mean is None:
        return ""
    if contrast.interval is None:
        return f"{contrast.mean:+.2f}"
    return f"{contrast.mean:+.2f} ± {contrast.interval.half_width:.2f}"


def _remarks(compared: "CurveComparison") -> list[str]:
    lines = []
    alone = [one.arm.name for one in compared.arms if one.theirs is None]
    unpaired = [
        one.arm.name
        for one in compared.arms
        if one.theirs and one.theirs.difference and one.theirs.difference.mean is None
    ]
    name = compared.reference.name
    if alone:
        lines.append(f"Without a counterpart in {name}: {', '.join(alone)}.")
    if compared.left_out:
        lines.append(f"In {name} alone: {', '.join(compared.left_out)}.")
    if unpaired:
        lines.append(
            f"No difference in {name}, whose runs did not begin with the baseline's batches: "
            f"{', '.join(unpaired)}."
        )
    return lines
