"""What a PPO run will take in memory, before it starts, and the largest batches that fit."""

import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch

from abcrl.config import InputError, PpoConfig
from abcrl.machine import prepare_machine

from .footprint import Footprint, Holdings, Usage
from .partly_fake import LARGEST_REAL

_ROLLOUT = ("generation", "scoring", "token evaluation")
_UPDATE = "update"
_MOST_ROWS = 512
"""No larger batch is looked for: its masks, which are real, take longer than a step."""
_LOOKS = 3
_COLUMNS = {"weights": 9, "gradients": 10, "optimizer": 10, "activations": 12, "KV cache": 9}
_WIDTH = 78
_NAMES = {"value_model": "value model", "ref_policy": "reference", "reward_model": "reward model"}
# What decides how many responses a phase has at a time.
_KEYS = {"update": "ppo.micro_batch_size", "held-out evaluation": "evaluation.batch_size"}


def describe_memory(config: PpoConfig) -> Iterator[str]:
    """Yields what a run takes in memory, line by line, in at most 78 columns.

    A table of the networks: weights, gradients and Adam's state; activations, of the policy and a
    separate value model in the update, of the reward model while it scores, of the reference while
    policy and reference are evaluated on the responses; the policy's cache in generation. Then the
    phase in which most is held, and with how many responses the device would be full.

    What is counted are tensors (see `Footprint`), for the longest prompts and responses, on a GPU
    rounded up as its allocator does. What is free is asked of the device when this process has its
    CUDA context, about half a GiB. No weights are read; of a Hub id its config.json is.
    """
    try:
        device = prepare_machine(config.run)
        footprint = Footprint(config, device)
    except InputError as error:
        yield from _wrapped(f"memory: cannot be told: {error}")
        return
    yield from describe_plan(MemoryPlan(config, footprint), device.type, free_memory(device))


def describe_plan(plan: "MemoryPlan", device: str, free: int) -> Iterator[str]:
    """Yields the lines of `describe_memory` for a kind of device and its free bytes."""
    yield from _table(plan, device)
    if plan.unknown:
        for name, reason in plan.unknown.items():
            yield from _wrapped(f"{name} cannot be counted: {reason}")
        yield f"weights and optimizer: {_size(plan.held)}"
    else:
        yield from _verdict(plan, free)
    if device == "cuda":
        yield "not counted: work space of kernels, and what the allocator cannot reuse"


class MemoryPlan:
    """The memory of a run's phases, counted once for each number of rows.

    Attributes:
        config: The run.
        holdings: Of each network.
        held: Bytes held from the first step's end on: weights, and the optimizer's state.
        rows: Responses of each phase, as configured.
        usage: Of the phases that can be counted.
        unknown: Why the others cannot be.
        most: No larger batch is looked for.
    """

    def __init__(self, config: PpoConfig, footprint: Footprint) -> None:
        """Counts every phase of a step as configured."""
        self.config, algorithm = config, config.ppo
        self.holdings = footprint.holdings()
        self.held = sum(one.weights + one.optimizer for one in self.holdings.values())
        self.rows = dict.fromkeys(_ROLLOUT, algorithm.batch_size)
        self.rows[_UPDATE] = algorithm.micro_batch_size or algorithm.mini_batch_size
        drawn = max(config.evaluation.prompts, config.score.center_samples)
        self.evaluated = min(config.evaluation.batch_size, drawn)
        self._count: dict[str, Callable[[int], Usage]] = {
            "generation": cache(footprint.generation),
            "scoring": cache(footprint.scoring),
            "token evaluation": cache(footprint.token_evaluation),
            _UPDATE: cache(footprint.update),
        }
        self.most = min(_MOST_ROWS, LARGEST_REAL // footprint.tokens)
        self.usage: dict[str, Usage] = {}
        self.unknown: dict[str, str] = {}
        # It would print what is told here in one line.
        logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
        for name, rows in self.rows.items():
            try:
                self.usage[name] = self._count[name](rows)
            except Exception as error:  # not named: whatever a model's code does without numbers
                words = " ".join(str(error).split())
                self.unknown[name] = f"{type(error).__name__}: {words[:100]}"

    def peaks(self) -> dict[str, int]:
        """Returns the bytes at the worst moment of each phase, all that is held included.

        The held-out evaluation is a phase of its own where its batches are larger.
        """
        lasting = self.held + self._lasting_caches()
        peaks = {name: lasting + usage.peak for name, usage in self.usage.items()}
        peaks[_UPDATE] += self._left_by_rollout()
        if self.evaluated > self.rows["generation"]:
            peaks["held-out evaluation"] = lasting + max(
                self._line(n)(self.evaluated) for n in _ROLLOUT
            )
        if self._lasting_caches():  # among which is the one that generation fills
            peaks["generation"] -= self.usage["generation"].kept
        return peaks

    def largest_batch(self, free: int) -> int:
        """Returns the most responses whose rollout fits; 0: not even one."""
        at, room = self.rows["generation"], free - self.held
        cache = self._lasting_caches()
        # Scoring and token evaluation take large batches in parts: no more than the line says.
        lines = [self._line(name) for name in _ROLLOUT[1:]]
        peaks: list[Callable[[int], int]] = [
            lambda rows: max(line(rows) for line in lines) + cache * rows // at,
            lambda rows: self._count["generation"](rows).peak,
        ]
        return min(largest_rows(peak, at, room, self.most) for peak in peaks)

    def largest_micro_batch(self, free: int) -> int:
        """Returns the most responses whose gradient can be had at once; 0: not even one."""
        room = free - self.held - self._lasting_caches() - self._left_by_rollout()
        return largest_rows(
            lambda rows: self._count[_UPDATE](rows).peak, self.rows[_UPDATE], room, self.most
        )

    def _lasting_caches(self) -> int:
        """Returns the bytes of the caches that stay when a rollout or an evaluation has ended."""
        if self.config.response.cache != "static":
            return 0
        rows, kept = self.rows["generation"], self.usage["generation"].kept
        others = 0 if self.evaluated == rows else kept * self.evaluated // rows
        return kept + others

    def _left_by_rollout(self) -> int:
        return sum(self.usage[name].kept for name in _ROLLOUT[1:])

    def _line(self, name: str) -> Callable[[int], int]:
        """Returns a phase's peak as a straight line through one and two times the rows."""
        rows = self.rows[name]
        first, second = (self._count[name](number).peak for number in (rows, 2 * rows))
        return lambda number: first + (second - first) * (number - rows) // rows


def largest_rows(peak: Callable[[int], int], at: int, room: int, most: int = _MOST_ROWS) -> int:
    """Returns the largest number of rows with which a peak stays within the room.

    By secants. The largest of several straight lines, which a peak is, lies below its chords, so
    what fits by a chord does fit.

    Args:
        peak: Bytes by rows, convex.
        at: Rows to begin with.
        room: Bytes.
        most: No more are looked for.

    Returns:
        0 where one row is too many; `most` where no fewer are.
    """
    if room <= 0:
        return 0
    if peak(at) > room:
        return _between(peak, 1, at, room) if at > 1 and peak(1) <= room else 0
    low, high = at, 2 * at
    for _ in range(_LOOKS):
        high = min(high, most)
        if high <= low:
            break
        if peak(high) > room:
            return _between(peak, low, high, room)
        slope = max(peak(high) - peak(low), 1) / (high - low)
        low, high = high, high + int((room - peak(high)) / slope)
    return low


def free_memory(device: torch.device) -> int:
    """Returns the bytes that are free on a device; of unified memory those of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = dict(line.split(":") for line in lines)["MemAvailable"]
        return int(available.removesuffix("kB")) * 1024
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _between(peak: Callable[[int], int], low: int, high: int, room: int) -> int:
    """Returns what fits by the chord between rows that fit and rows that do not."""
    slope = (peak(high) - peak(low)) / (high - low)
    return low + int((room - peak(low)) / slope)


def _table(plan: MemoryPlan, device: str) -> Iterator[str]:
    networks = plan.config.networks
    title = f"memory, {networks.precision} on {device}"
    yield f"{title:26}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items())
    policy = "policy" if networks.lora is None else "LoRA policy"
    if networks.value_model == "shared":
        policy += ", value head"
    roles = {"policy": policy, **_NAMES}
    for role, name in roles.items():
        if role in plan.holdings or role == "ref_policy":
            yield _row(name, plan.holdings.get(role, Holdings(0)), *_activity(role, plan))


def _activity(role: str, plan: MemoryPlan) -> tuple[int | None, int | None]:
    """Returns activations and cache of a network; None: they cannot be counted."""
    phase = {"ref_policy": "token evaluation", "reward_model": "scoring"}.get(role, _UPDATE)
    usage, generation = plan.usage.get(phase), plan.usage.get("generation")
    activations = usage and (usage.value_model if role == "value_model" else usage.activations)
    if role != "policy":
        return activations, 0
    return activations, generation and generation.kept


def _row(name: str, held: Holdings, activations: int | None, cache: int | None) -> str:
    sizes = (held.weights, held.gradients, held.optimizer, activations, cache)
    cells = zip(sizes, _COLUMNS.values(), strict=True)
    return f"  {name:24}" + "".join(f"{_size(size):>{width}}" for size, width in cells)


def _verdict(plan: MemoryPlan, free: int) -> Iterator[str]:
    """Says where most is held, and what fits."""
    peaks = plan.peaks()
    worst = max(peaks, key=lambda name: peaks[name])
    others = ", ".join(f"{name} {_size(peak)}" for name, peak in peaks.items() if name != worst)
    yield from _wrapped(
        f"peak, weights and optimizer included: {worst} {_size(peaks[worst])} of {_size(free)} "
        f"free; other phases: {others}"
    )
    if plan.held >= free:
        yield f"does not fit: weights and optimizer alone are {_size(plan.held)}"
        return
    if peaks[worst] > free:
        yield f"does not fit: lower {_KEYS.get(worst, 'ppo.batch_size')}"
    batch, micro = plan.largest_batch(free), plan.largest_micro_batch(free)
    numbers = (_number(rows, plan.most) for rows in (batch, micro))
    yield "fits up to: batch_size {}, micro_batch_size {}".format(*numbers)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _number(rows: int, most: int) -> str:
    return "none" if rows == 0 else f"{rows} or more" if rows == most else str(rows)


def _size(size: int | None) -> str:
    """Returns bytes as a person reads them, at most 9 characters."""
    if not size:
        return "?" if size is None else "-"
    number, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if number >= 1000:
            number, unit = number / 1024, larger
    return f"{number:.1f} {unit}" if number < 100 else f"{number:.0f} {unit}"
