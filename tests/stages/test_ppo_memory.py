"""A run holds as much at its end as at its beginning."""

import gc
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "LoRA": {"mode": "abc-d", "networks__lora__rank": 2},
    "separate value": {
        "mode": "swapped",
        "networks__value_model": "separate",
        "score__scale": "running",
        "kl__loss": "exact",
    },
}


class Weighing(SilentReporter):
    """Counts live tensors and resident bytes after some steps."""

    def __init__(self, steps: Iterable[int]) -> None:
        self._steps = set(steps)
        self.tensors: dict[int, int] = {}
        self.resident: dict[int, int] = {}

    def advance(self, done: int, numbers: object) -> None:  # noqa: ARG002
        if done not in self._steps:
            return
        gc.collect()
        # Asking for the type, as `isinstance` wakes up what warns of its own end.
        self.tensors[done] = sum(issubclass(type(each), Tensor) for each in gc.get_objects())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident[done] = pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("variant", "steps"),
    [
        ("separate value", 30),
        *(pytest.param(name, 200, marks=pytest.mark.slow) for name in VARIANTS),
    ],
)
def test_no_step_leaves_anything_behind(tiny_runs, tmp_path, variant, steps):
    reporter = Weighing([20, *range(25, steps + 1, 5)])
    often = {"evaluation__interval": 10, "checkpoint__interval": 10}
    config = tiny_runs.ppo(tmp_path / "run", steps=steps, **often, **VARIANTS[variant])
    run_ppo(config, reporter)
    assert len({*reporter.tensors.values()}) == 1, reporter.tensors
    assert reporter.tensors[20] > 0
    assert max(reporter.resident.values()) <= 1.05 * reporter.resident[20]
