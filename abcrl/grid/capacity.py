"""How much of a grid a machine takes at a time."""

import os
from pathlib import Path


def default_jobs(device: str) -> int:
    """One cell on a GPU, else one per core; in a container that is fewer than the machine has."""
    on_gpu = Path("/dev/nvidiactl").exists() if device == "auto" else device != "cpu"
    if on_gpu:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
