"""The least time a PPO step can take: its multiplications at this machine's rate, Adam's traffic.

Counted are matrix products, attention and output heads at the true token counts (no padding), with
keys and values kept in generation, and logits at response positions alone. A product of [n, k] and
[k, m] is 2 n k m operations; the backward pass is two products for each of the forward pass.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import torch
from ppo_workload import Batch, Shape
from torch import Tensor

PPO_EPOCHS: Final = 4
BACKWARD: Final = 2
"""Operations of a backward pass, in units of the forward pass."""
ADAM_BYTES: Final = 28
"""Per float32 parameter and step: fused Adam reads p, g, m, v and writes p, m, v."""
GRADIENT_BYTES: Final = 4
"""Per float32 parameter and backward pass: g is written."""
LARGE: Final = 1024
_REPEATS: Final = 5


class Work(NamedTuple):
    """What one phase has to do."""

    operations: float
    """Floating point operations."""
    traffic: float = 0.0
    """Bytes that Adam and the gradients move."""
    rows: int = 0
    """Tokens in one product, to the nearest power of two: how large the matrices are."""


def step_work(batch: Batch, shape: Shape, *, mini_batch: int, parameters: int) -> dict[str, Work]:
    """Returns the work of each phase.

    generate: the prompt, then a token at a time for the whole batch; score: reward model, policy
    and reference over the whole texts; update: forward and backward, one Adam step a mini-batch.
    """
    rows = [(len(ids), length) for ids, length in zip(batch.prompts, batch.lengths, strict=True)]
    # The last token of a response is drawn and never read by generation.
    generate = sum(_trunk(p + r - 1, shape) + _head(r, shape) for p, r in rows)
    trunk = sum(_trunk(p + r, shape) for p, r in rows)
    logits = sum(_head(r, shape) for _, r in rows)
    tokens = sum(p + r for p, r in rows)
    mini_batches = PPO_EPOCHS * len(rows) // mini_batch
    update = (1 + BACKWARD) * PPO_EPOCHS * (trunk + logits)
    traffic = mini_batches * parameters * (ADAM_BYTES + GRADIENT_BYTES)
    return {
        "generate": Work(generate, rows=_size(len(rows))),
        "score": Work(3 * trunk + 2 * logits, rows=_size(tokens)),
        "update": Work(update, traffic, rows=_size(tokens * mini_batch / len(rows))),
    }


def _size(rows: float) -> int:
    return int(2 ** round(math.log2(rows)))


def _trunk(tokens: int, shape: Shape) -> float:
    """Operations of all layers over one sequence: 12 d^2 weights each, and causal attention."""
    products = 2 * 12 * shape.width**2 * tokens
    attention = 4 * shape.width * tokens * (tokens + 1) / 2  # q k^T and its product with v
    return shape.layers * (products + attention)


def _head(positions: int, shape: Shape) -> float:
    return 2 * shape.width * shape.vocabulary * positions


@dataclass
class Rates:
    """What this machine does, measured between the turns; medians over them."""

    device: str
    shape: Shape
    parameters: int
    samples: dict[object, list[float]] = field(default_factory=dict)

    def measure(self, rows: Sequence[int]) -> None:
        """Takes one sample: of large products, of the networks' own with `rows` tokens, of memory.

        Args:
            rows: Tokens in one product, of the phases that will be asked about.
        """
        self._add(LARGE, _product_rate(LARGE, LARGE, LARGE, self.device))
        for count in sorted(set(rows)):
            width = self.shape.width
            self._add((count,), _product_rate(count, width, 4 * width, self.device))
        self._add("memory", _memory_rate(self.parameters, self.device))

    @property
    def large(self) -> float:
        """Operations a second in products of [1024, 1024]."""
        return statistics.median(self.samples[LARGE])

    @property
    def memory(self) -> float:
        """Bytes a second, in a sum of arrays that take together what Adam works on."""
        return statistics.median(self.samples["memory"])

    def own(self, rows: int) -> float:
        """Operations a second in products of [rows, d] and [d, 4 d]."""
        return statistics.median(self.samples[rows,])

    def bound(self, work: Work) -> float:
        """Seconds, with all products as fast as large ones."""
        return work.operations / self.large + work.traffic / self.memory

    def own_bound(self, work: Work) -> float:
        """Seconds, with all products as fast as those of the phase's own size."""
        return work.operations / self.own(work.rows) + work.traffic / self.memory

    def _add(self, key: object, rate: float) -> None:
        self.samples.setdefault(key, []).append(rate)


def _product_rate(n: int, k: int, m: int, device: str) -> float:
    # Several weights in turn, as in a network: one alone would stay in the nearest cache.
    left = torch.rand(n, k, device=device)
    weights = [torch.rand(k, m, device=device) for _ in range(8)]
    repeats = min(64, max(1, int(2e9 // (16 * n * k * m))))

    def products() -> None:
        for _ in range(repeats):
            for weight in weights:
                torch.mm(left, weight)

    return repeats * len(weights) * 2 * n * k * m / _seconds(products, device)


def _memory_rate(parameters: int, device: str) -> float:
    # Adam works on p, g, m and v, 16 bytes a parameter; three arrays of the same size together.
    arrays: list[Tensor] = [torch.rand(parameters * 4 // 3, device=device) for _ in range(3)]
    first, second, result = arrays
    seconds = _seconds(lambda: torch.add(first, second, out=result), device)
    return sum(array.nbytes for array in arrays) / seconds


def _seconds(function: Callable[[], object], device: str) -> float:
    """Median of a few calls; processor seconds on the CPU."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken = []
    for _ in range(_REPEATS + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        began = clock()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - began)
    return statistics.median(taken[1:])
