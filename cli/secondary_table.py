"""What `abcrl compare` prints beside the primary endpoint: intervals, and no verdict."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from abcrl.config.words import count

if TYPE_CHECKING:
    from abcrl.analysis.collect import Summary
    from abcrl.analysis.differences import PairedDifference
    from abcrl.analysis.secondary import Arrivals


def secondary_table(summary: "Summary") -> Table | None:
    """Returns the declared contrasts at equal KL and in steps; None where nothing compares."""
    levels = summary.equal_kl.levels
    arrived = {
        (one.arm, one.baseline): one for found in summary.arrivals for one in found.contrasts
    }
    if not summary.contrasts or not (levels or arrived):
        return None
    title = "Scores at equal KL, and steps to most of the gain (described, no verdict)"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.add_column("difference", overflow="fold")
    for level in levels:
        table.add_column(f"at {level.kl:.1f} nats", justify="right", no_wrap=True)
    if arrived:
        table.add_column("steps to gain", justify="right", no_wrap=True)
    for number, contrast in enumerate(summary.contrasts):
        row = [say_difference(level.contrasts[number], 2) for level in levels]
        if arrived:
            steps = arrived.get((contrast.arm, contrast.baseline))
            row.append("" if steps is None else say_difference(steps, 1))
        table.add_row(f"{contrast.arm} - {contrast.baseline}", *row)
    return table


def explain_secondary(summary: "Summary") -> list[str]:
    """Returns what the table's columns mean, and why one is not there, a line each."""
    if not summary.contrasts:
        return []
    lines = []
    equal_kl = summary.equal_kl
    if equal_kl.levels:
        shares = ", ".join(f"{100 * one.share:.0f}" for one in equal_kl.levels)
        lines.append(
            f"KL: {shares} % of the lowest of all runs' peak KLs ({equal_kl.smallest}); scores "
            f"where a run first crosses it"
        )
    else:
        lines.append(f"scores at equal KL: not comparable: {equal_kl.reason}")
    return [*lines, *(_explain_arrivals(found) for found in summary.arrivals)]


def _explain_arrivals(found: "Arrivals") -> str:
    if found.reason:
        return f"steps to most of the gain: not comparable: {found.reason}"
    text = f"gain: to {found.threshold:+.2f}, 90 % of what {found.baseline} gains"
    late = [
        f"{arm} in {found.censored(arm)} of {count(len(cells), 'run')}"
        for arm, cells in found.steps.items()
        if found.censored(arm)
    ]
    if late:
        text += f"; not reached (counted as step {found.horizon}) by {', '.join(late)}"
    return text


def say_difference(found: "PairedDifference", places: int) -> str:
    """Returns a mean difference with half the width of its interval, where it has one."""
    if found.mean is None:
        return ""
    text = f"{found.mean:+.{places}f}"
    if found.interval is None:
        return text
    return f"{text} ± {found.interval.half_width:.{places}f}"
