"""The table of a grid's cells that is shown while they run."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from rich import box
from rich.table import Table
from rich.text import Text

from abcrl.reporter import CellState

_STYLES = {"running": "bold", "finished": "green", "waiting": "dim"}
# What is most worth a line when not all cells have one.
_FIRST = ("running", "failed", "interrupted", "killed", "finished", "waiting")


def cells_table(states: Sequence[CellState], lines: int) -> Table:
    """Returns the cells, a line each, in the order of the grid.

    Args:
        states: All cells.
        lines: How many fit; of more, those under way, then failed ones, then the last finished.
    """
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.add_column("cell", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("step", "score", "KL", "time left"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = _most_telling(states, lines)
    for one in shown:
        table.add_row(
            Text(one.name),
            Text(one.state, style=_STYLES.get(one.state, "red")),
            f"{one.step}/{one.steps}",
            "" if one.score is None else f"{one.score:+.2f}",
            "" if one.kl is None else f"{one.kl:.1f}",
            "" if one.seconds_left is None else str(timedelta(seconds=round(one.seconds_left))),
        )
    if len(shown) < len(states):
        counts = Counter(one.state for one in states)
        table.caption = f"{len(states)} cells: " + ", ".join(
            f"{counts[state]} {state}" for state in _FIRST if counts[state]
        )
    return table


def _most_telling(states: Sequence[CellState], lines: int) -> list[CellState]:
    def rank(number: int) -> tuple[int, int]:
        state = states[number].state
        late = state == "finished"  # of those that ended well, the last ones
        return _FIRST.index(state), -number if late else number

    chosen = sorted(range(len(states)), key=rank)[: max(1, lines)]
    return [states[number] for number in sorted(chosen)]
