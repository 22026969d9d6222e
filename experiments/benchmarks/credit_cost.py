"""What credit costs: the time and memory of a forward pass without it, with it, and eagerly.

For the reward model (`abc`: one row of attention per sequence) and the policy (`abc-d`, `abc-d2`:
[R, R]), on random weights. The ways of running it (see ways.py) take turns in one process, so that
a disturbance from outside meets all of them; what counts is the ratio within a turn.
Run: python credit_cost.py --help
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from arguments import count
from ways import NETWORKS, WAYS, Pass

# The share of a row's attention that may differ between captured and eager: rounding, no more.
AGREEMENT: Final = {"float32": 1e-4, "bfloat16": 2e-2}


class Spread(NamedTuple):
    """A ratio over the turns: its median and the quartiles beside it."""

    median: float
    low: float
    high: float


class Memory(NamedTuple):
    """What one pass takes from the allocator beyond what it starts with, bytes."""

    peak: int
    """The most that is held at one time."""
    total: int
    """All that is ever taken, also what is given back: no tensor can hide below the peak."""


@dataclass(frozen=True)
class Cost:
    """One line of the table."""

    network: str
    """reward-model | policy."""
    architecture: str
    batch: int
    length: int
    """T, tokens of the longest sequence, prompt and response."""
    plain_milliseconds: float
    """Median over the turns."""
    credit_time: Spread
    """Time of credit / time of plain, turn by turn."""
    eager_time: Spread
    memory: Mapping[str, Memory]
    """By way."""
    unit_bytes: int
    """Of the rows that are asked for: 4 B H T (reward model), 4 B R T (policy)."""
    disagreement: float
    """Largest share of a row's attention that differs between captured and eager."""

    @property
    def extra_units(self) -> tuple[float, float]:
        """What credit takes more than plain, peak and total, as a multiple of `unit_bytes`."""
        credit, plain = self.memory["credit"], self.memory["plain"]
        return (
            (credit.peak - plain.peak) / self.unit_bytes,
            (credit.total - plain.total) / self.unit_bytes,
        )


def measure_time(
    passes: Mapping[str, Pass], settings: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the seconds of each way in each turn; each turn begins with another way.

    On the CPU they are the process's processor seconds: what other processes do does not count.
    """
    clock = time.perf_counter if settings.device == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {way: [] for way in passes}
    for turn in range(settings.repeats):
        first = turn % len(WAYS)
        for way in WAYS[first:] + WAYS[:first]:
            _finish(settings)
            started = clock()
            passes[way]()
            _finish(settings)
            seconds[way].append(clock() - started)
    return seconds


def measure_memory(run: Pass, settings: argparse.Namespace) -> Memory:
    """Return what one pass takes: torch.cuda's own counters, or the CPU allocator's profile."""
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_stats()
        run()
        after = torch.cuda.memory_stats()
        total = "allocated_bytes.all.allocated"
        held = before["allocated_bytes.all.current"]
        return Memory(after["allocated_bytes.all.peak"] - held, after[total] - before[total])
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event["args"] for event in events if event.get("name") == "[memory]"]
    held = changes[0]["Total Allocated"] - changes[0]["Bytes"]
    peak = max(change["Total Allocated"] for change in changes) - held
    total = sum(max(change["Bytes"], 0) for change in changes)
    return Memory(peak, total)


@torch.inference_mode()
def measure(network: str, architecture: str, length: int, settings: argparse.Namespace) -> Cost:
    """Return one line of the table.

    Raises:
        SystemExit: Captured and eager attention differ, so there is nothing to compare.
    """
    batch = max(2, settings.tokens // length)
    passes = NETWORKS[network](architecture, length, batch, settings)
    warm = {way: run() for way, run in passes.items()}
    captured, expected = warm["credit"], warm["eager"]
    assert captured is not None
    assert expected is not None
    disagreement = float((captured - expected).abs().sum(-1).max() / 2)
    if not disagreement <= AGREEMENT[settings.dtype]:
        raise SystemExit(
            f"captured attention differs from eager attention by {disagreement:.1e} ({network}, "
            f"{architecture}, T = {length}, {settings.dtype})"
        )
    del warm, captured, expected
    memory = {way: measure_memory(run, settings) for way, run in passes.items()}
    seconds = measure_time(passes, settings)
    rows = settings.heads if network == "reward-model" else length - length // 2
    return Cost(
        network,
        architecture,
        batch,
        length,
        1000 * statistics.median(seconds["plain"]),
        _ratios(seconds["credit"], seconds["plain"]),
        _ratios(seconds["eager"], seconds["plain"]),
        memory,
        4 * batch * rows * length,
        disagreement,
    )


HEADER: Final = (
    f"{'':19} {'':4} {'':2} {'plain':>7}  {'time / plain, median (quartiles)':^38}  "
    f"{'peak, MiB':^20}  {'credit - plain, units':>21}\n"
    f"{'network':19} {'T':>4} {'B':>2} {'ms':>7}  {'credit':^20} {'eager':^17}  "
    f"{'plain':>6} {'credit':>6} {'eager':>6}  {'peak':>10} {'total':>10}"
)


def line_of(cost: Cost) -> str:
    """Return a line of the table."""
    peaks = " ".join(f"{cost.memory[way].peak / 2**20:6.1f}" for way in WAYS)
    credit, eager = cost.credit_time, cost.eager_time
    peak, total = cost.extra_units
    return (
        f"{cost.network + ' ' + cost.architecture:19} {cost.length:4} {cost.batch:2} "
        f"{cost.plain_milliseconds:7.1f}  "
        f"{credit.median:.3f} ({credit.low:.3f}-{credit.high:.3f})  "
        f"{eager.median:.2f} ({eager.low:.2f}-{eager.high:.2f})  "
        f"{peaks}  {peak:10.1f} {total:10.1f}"
    )


def _ratios(seconds: Sequence[float], plain: Sequence[float]) -> Spread:
    ratios = [one / other for one, other in zip(seconds, plain, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Spread(median, low, high)


def _finish(settings: argparse.Namespace) -> None:
    if settings.device == "cuda":
        torch.cuda.synchronize()


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description="What credit costs: time and memory of a forward pass without and with it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what is run")
    add("--architectures", nargs="+", choices=("gpt2", "llama"), default=["gpt2", "llama"])
    add("--lengths", nargs="+", type=count, default=[128, 512, 1024, 2048], help="T, tokens")
    add("--tokens", type=count, default=2048, help="tokens in a batch; at least two rows")
    add("--layers", type=count, default=4)
    add("--width", type=count, default=512, help="of the hidden states")
    add("--heads", type=count, default=8)
    add("--repeats", type=count, default=7, help="turns, at least two")
    add("--threads", type=count, default=1, help="torch's threads on the CPU")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--dtype", choices=tuple(AGREEMENT), default="float32")
    add("--unpadded", action="store_true", help="all rows of one length; sdpa gets no mask then")
    add("--json", type=Path, metavar="FILE", help="also write settings and numbers there")
    settings = parser.parse_args(arguments)
    if settings.repeats < 2 or min(settings.lengths) < 8:
        parser.error("--repeats must be at least 2 and --lengths at least 8; raise them")
    if settings.json is not None and not settings.json.parent.is_dir():
        parser.error(f"--json must be in an existing folder, received {settings.json}; make it")
    if settings.width % settings.heads:
        parser.error(f"--width must be a multiple of --heads, received {settings.width}; set both")
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and, if asked for, write the numbers."""
    settings = read_arguments(arguments)
    torch.set_num_threads(settings.threads)
    costs = []
    print(HEADER)
    for network in settings.networks:
        for architecture in settings.architectures:
            for length in settings.lengths:
                costs.append(measure(network, architecture, length, settings))
                print(line_of(costs[-1]), flush=True)
    if settings.json is not None:
        given = {**vars(settings), "json": None, "torch": torch.__version__}
        rows = [asdict(cost) | {"extra_units": cost.extra_units} for cost in costs]
        settings.json.write_text(json.dumps({"settings": given, "costs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
