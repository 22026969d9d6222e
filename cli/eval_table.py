"""The table that `abcrl eval` prints."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from .outcome import printable

if TYPE_CHECKING:
    from abcrl.analysis.quality.prompt_samples import IntervalEstimate
    from abcrl.rl.evaluation.evaluated import PromptMean, ResponseSummary
    from abcrl.tools.evaluation import EvalReport

Format = Callable[[float], str]


def print_evaluation(report: "EvalReport") -> None:
    """Prints both sides, what is between them, and what they were trained with."""
    console = Console(highlight=False)
    whole = not console.is_terminal
    lines = [f"policy        {report.policy.model}"]
    if report.against is not None:
        lines.append(f"against       {report.against.model}")
    lines.append(f"reward model  {report.reward_model}")
    lines.append(f"responses     {report.responses}")
    if report.reference is not None:
        lines.append(f"KL to         {report.reference}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.print(_table(report))
    for name, side in (("policy", report.policy), ("against", report.against)):
        if side is not None and side.trained_with:
            text = printable("; ".join(side.trained_with))
            shown = f"{name} was trained on other terms than these: {text}"
            console.print(shown, markup=False, soft_wrap=whole)
    if report.folder is not None:
        console.print(f"\nresults  {report.folder}", markup=False, soft_wrap=True)


def _table(report: "EvalReport") -> Table:
    title = f"{report.prompts} held-out prompts, {_responses(report.samples)} to each"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("", no_wrap=True)
    sides = [report.policy.summary]
    table.add_column("policy", justify="right", no_wrap=True)
    parts = ["± standard error over the prompts"]
    if report.against is not None:
        sides.append(report.against.summary)
        table.add_column("against", justify="right", no_wrap=True)
        table.add_column("difference", justify="right", no_wrap=True)
        parts.append("[95 % interval, paired by prompt]")
    for name, key, form in _MEASURES:
        if getattr(report.policy.summary, key) is not None:
            row = [_shown(side, key, form) for side in sides]
            table.add_row(name, *row, *_difference(report, key))
    if report.difference is not None:
        shown, meaning = _win_rate(report)
        table.add_row("win rate", "", "", shown)
        parts.append(meaning)
    parts.append(
        "distinct-n: share of different n-grams over all responses; repetition: share of a "
        "response's 4-grams that occurred in it before"
    )
    # Square brackets are markup to rich.
    table.caption = "; ".join(parts).replace("[", r"\[")
    table.caption_justify = "left"
    return table


def _responses(count: int) -> str:
    return "1 response" if count == 1 else f"{count} responses"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


_MEASURES: tuple[tuple[str, str, Format], ...] = (
    ("score", "score", _signed),
    ("gold score", "gold_score", _signed),
    ("exact KL, nats", "kl_exact", _tenths),
    ("length, tokens", "length", _tenths),
    ("ended by EOS", "eos_rate", _percent),
    ("distinct-1", "distinct_1", _percent),
    ("distinct-2", "distinct_2", _percent),
    ("distinct-3", "distinct_3", _percent),
    ("repetition", "repetition", _percent),
)


def _shown(summary: "ResponseSummary", key: str, form: Format) -> str:
    value: float | PromptMean = getattr(summary, key)
    if isinstance(value, float):
        return form(value)
    return f"{form(value.mean)} ± {form(value.standard_error).lstrip('+')}"


def _difference(report: "EvalReport", key: str) -> list[str]:
    if report.difference is None:
        return []
    found: IntervalEstimate | None = getattr(report.difference, key, None)
    if found is None:
        return [""]
    form = _signed if key in ("score", "gold_score") else "{:+.1f}".format
    return [rf"{form(found.value)} \[{form(found.low)}, {form(found.high)}]"]


def _win_rate(report: "EvalReport") -> tuple[str, str]:
    """Returns the estimate and what it means."""
    assert report.difference is not None  # shown only then
    rate = report.difference.win_rate
    if rate is None:
        return "", "no win rate: it takes two responses to each prompt (--samples)"
    return rf"{rate.value:.1%} \[{rate.low:.1%}, {rate.high:.1%}]", (
        "win rate: how often the policy's response scores higher than an independent one of the "
        "other model to the same prompt"
    )
