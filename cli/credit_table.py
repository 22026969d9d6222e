"""The table that `abcrl credit` prints."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from abcrl.analysis.quality.faithfulness import Estimate
    from abcrl.tools.credit import CreditReport, ModeReport


def print_credit(report: "CreditReport") -> None:
    """Prints where credit falls, whether it is faithful, and what could not be had."""
    console = Console(highlight=False)
    whole = not console.is_terminal
    spread = report.modes[0].spread
    lines = [
        f"{spread.texts} held-out texts of {spread.tokens:.0f} tokens, scores "
        f"{report.score_mean:+.2f} on average, standard deviation {report.score_std:.2f}"
    ]
    if report.shortened:
        lines.append(f"of {report.shortened} of them, which are longer, only the beginning is read")
    if report.dropped_share is not None:
        lines.append(
            f"{report.dropped_share:.1%} of the scored position's attention lies outside of the "
            f"text (prompt, BOS, template) and is dropped"
        )
    for line in lines:
        console.print(line, soft_wrap=whole)
    console.print(_where(report))
    console.print()
    console.print(_faithful(report))
    for mode, reason in report.left_out.items():
        console.print(f"{mode} is left out: {reason}", markup=False, soft_wrap=whole)
    if report.folder is not None:
        console.print(f"\nresults  {report.folder}", markup=False, soft_wrap=True)


def _where(report: "CreditReport") -> Table:
    knows_causes = report.modes[0].spread.causal_share is not None
    names = ["effective", "entropy", "first", "last", "punctuation"]
    table = _table("Where credit falls", [*names, *(["causal words"] if knows_causes else [])])
    for one in report.modes:
        spread = one.spread
        row = [
            f"{spread.effective_tokens:.1f}",
            f"{spread.entropy:.2f}",
            f"{spread.first_token_share:.1%}",
            f"{spread.last_token_share:.1%}",
            f"{spread.punctuation_share:.1%}",
        ]
        if spread.causal_share is not None:
            row.append(f"{spread.causal_share:.1%}")
        table.add_row(one.mode.value, *row)
    parts = [
        "effective: tokens that share the credit; entropy in nats; the rest are shares of the "
        "credit"
    ]
    fallen = [
        f"{one.mode.value} {one.fallback_rate:.1%}" for one in report.modes if one.fallback_rate
    ]
    if fallen:
        parts.append(f"texts without evidence, whose credit is uniform: {', '.join(fallen)}")
    table.caption = "; ".join(parts)
    table.caption_justify = "left"
    return table


def _faithful(report: "CreditReport") -> Table:
    table = _table(
        "Whether it is faithful (± standard error)", ["rank correlation", "deletion", "insertion"]
    )
    for one in report.modes:
        table.add_row(one.mode.value, *_faithfulness(one))
    table.caption = (
        "rank correlation: with what the score loses without each token; deletion, insertion: how "
        "much sooner than in random order the score is lost, or reached, in shares of what the "
        "text changes of it (0 is chance)"
    )
    table.caption_justify = "left"
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("mode", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _faithfulness(one: "ModeReport") -> list[str]:
    found = one.faithfulness
    return [
        _estimate(each) for each in (found.correlation, found.deletion_share, found.insertion_share)
    ]


def _estimate(value: "Estimate") -> str:
    if value.mean is None:
        return "-"
    if value.standard_error is None:
        return f"{value.mean:+.2f}"
    return f"{value.mean:+.2f} ± {value.standard_error:.2f}"
