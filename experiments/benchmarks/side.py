"""What the two sides of ppo_step.py share: a clock, and a line of JSON for every step.

Each side runs in a process and an environment of its own; nothing but torch is imported here.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch


def open_answers() -> TextIO:
    """Returns the pipe to the benchmark; whatever prints from now on goes to the error stream."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def steps(answers: TextIO, **known: object) -> Iterator[dict[str, Any]]:
    """Yields what to run, one step a line, after saying that the networks are there."""
    print(json.dumps({"ready": True, **known}), file=answers)
    for line in sys.stdin:
        yield json.loads(line)


class Meter:
    """Seconds since the last `start`, and the most memory that was held since.

    On the CPU they are the process's processor seconds: what other processes do does not count.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._clock = time.perf_counter if self._cuda else time.process_time
        self._started = 0.0
        self.spent: dict[str, float] = {}
        self._held = self._memory("VmRSS")

    def start(self) -> None:
        """Begins a step."""
        self.spent = {}
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        self._started = self._now()

    def elapsed(self) -> float:
        """Seconds since the step began."""
        return self._now() - self._started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function; the seconds that its calls take are added up in `spent`."""

        def call(*arguments: object, **options: object) -> object:
            began = self._now()
            result = function(*arguments, **options)
            self.spent[name] = self.spent.get(name, 0.0) + self._now() - began
            return result

        return call

    def peak(self) -> int:
        """Bytes that were held at most, beyond those held when the networks were loaded."""
        return self._memory("VmHWM") - self._held

    def _memory(self, field: str) -> int:
        if self._cuda:
            return (
                torch.cuda.max_memory_allocated()
                if field == "VmHWM"
                else torch.cuda.memory_allocated()
            )
        status = Path("/proc/self/status").read_text()
        return next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field)
        )

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return self._clock()
