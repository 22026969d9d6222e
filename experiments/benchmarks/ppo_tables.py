"""What ppo_step.py measured, and its tables."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from arithmetic import Rates, Work
from ppo_workload import Span

PHASES: Final = ("generate", "score", "update")
STEP: Final = "step"
PAPER: Final = "paper"


@dataclass(frozen=True)
class Measured:
    """One side's steps at one response length, turn by turn."""

    span: Span
    side: str
    """A mini-batch size, or "paper"."""
    answers: list[dict[str, Any]]
    works: list[dict[str, Work]]
    """What the same steps have to do; empty for the paper's side."""

    def seconds(self, phase: str) -> list[float]:
        """Seconds in each turn; those of "step" are the sum of its phases."""
        if phase == STEP:
            return [sum(answer[name] for name in PHASES) for answer in self.answers]
        return [answer[phase] for answer in self.answers]

    def bound(self, phase: str, seconds_of: Callable[[Work], float]) -> float:
        """Median over the turns of the seconds that the phase's work takes at least."""
        phases = PHASES if phase == STEP else (phase,)
        return statistics.median(
            sum(seconds_of(works[name]) for name in phases) for works in self.works
        )

    @property
    def tokens(self) -> float:
        """Response tokens of a step, median over the turns."""
        return statistics.median(answer["tokens"] for answer in self.answers)

    @property
    def peak(self) -> int:
        """Bytes beyond the loaded networks, at most."""
        return max(answer["peak"] for answer in self.answers)


def step_table(measured: Sequence[Measured], rates: Rates) -> str:
    """Returns the seconds of each phase of abcrl's side, beside the least they could take."""
    return "\n".join([
        _rates(rates),
        "",
        f"{'response':8} {'mini-':>5} {'':8} {'':>8} {'':>8} {'bound,':>8} {'time /':>6} "
        f"{'own size,':>9} {'time /':>8} {'peak':>6}",
        f"{'tokens':8} {'batch':>5} {'phase':8} {'seconds':>8} {'tokens/s':>8} {'seconds':>8} "
        f"{'bound':>6} {'seconds':>9} {'own size':>8} {'MiB':>6}",
        *(line for one in measured for line in _step_lines(one, rates)),
    ])  # fmt: skip


def _rates(rates: Rates) -> str:
    rows = sorted(key[0] for key in rates.samples if isinstance(key, tuple))
    own = ", ".join(f"{row}: {rates.own(row) / 1e9:.0f}" for row in rows)
    return (
        f"products of [1024, 1024]: {rates.large / 1e9:.0f} GFLOP/s; Adam's size of memory: "
        f"{rates.memory / 1e9:.1f} GB/s\nproducts of [n, d] and [d, 4 d], n: GFLOP/s: {own}"
    )


def _step_lines(one: Measured, rates: Rates) -> Iterator[str]:
    for phase in (*PHASES, STEP):
        seconds = statistics.median(one.seconds(phase))
        bound = one.bound(phase, rates.bound)
        own = one.bound(phase, rates.own_bound)
        first = phase == PHASES[0]
        yield (
            f"{str(one.span) if first else '':8} {one.side if first else '':>5} {phase:8} "
            f"{seconds:8.3f} {one.tokens / seconds:8.0f} {bound:8.3f} {seconds / bound:6.2f} "
            f"{own:9.3f} {seconds / own:8.2f}"
            + (f" {one.peak / 2**20:6.0f}" if phase == STEP else "")
        )


def paper_table(measured: Sequence[Measured]) -> str:
    """Returns the paper's seconds, and how many times ours they are, at each mini-batch size."""
    theirs = [one for one in measured if one.side == PAPER]
    sides = list(dict.fromkeys(one.side for one in measured if one.side != PAPER))
    ours = {(one.span, one.side): one for one in measured}
    heads = " ".join(f"{'mini-batch ' + side:^26}" for side in sides)
    columns = " ".join(f"{'step s':>7} {'paper / ours':>18}" for _ in sides)
    lines = [
        f"{'response':8} {'the paper, seconds':^33} {'peak':>5} {heads}",
        f"{'tokens':8} {'generate':>8} {'score':>7} {'update':>8} {'step':>7} {'MiB':>5} {columns}",
    ]
    for one in theirs:
        seconds = [statistics.median(one.seconds(phase)) for phase in (*PHASES, STEP)]
        cells = " ".join(_against(one, ours[one.span, side]) for side in sides)
        lines.append(
            f"{one.span!s:8} {seconds[0]:8.2f} {seconds[1]:7.2f} {seconds[2]:8.2f} "
            f"{seconds[3]:7.2f} {one.peak / 2**20:5.0f} {cells}"
        )
    return "\n".join(lines)


def _against(paper: Measured, our: Measured) -> str:
    theirs, ours = paper.seconds(STEP), our.seconds(STEP)
    ratio = statistics.median(theirs) / statistics.median(ours)
    turns = [one / other for one, other in zip(theirs, ours, strict=True)]
    low, _, high = statistics.quantiles(turns, n=4, method="inclusive")
    shown = f"{ratio:.2f} ({low:.2f}-{high:.2f})"
    return f"{statistics.median(ours):7.2f} {shown:>18}"
