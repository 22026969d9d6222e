"""Checkpoints that tests write, and what spoils one."""

import hashlib
from pathlib import Path

import torch

from abcrl.storage import Checkpoint

FILES = {"model.safetensors": b"weights", "optimizer.pt": b"memory"}


def checkpoint(step: int = 40, **changes: object) -> Checkpoint:
    values = {
        "step": step,
        "config": "steps: 100\n",
        "state": {"kl_coef": 0.1 + 0.2, "row": {"objective/kl": 1e-300}, "none": None},
        "tensors": {
            "weight": torch.arange(6.0).reshape(2, 3) / 7,
            "half": torch.tensor([1.0, -0.0], dtype=torch.bfloat16),
            "step": torch.tensor(12.0),
            "mask": torch.tensor([True, False]),
        },
        "streams": {"metrics": 5, "samples": 0, "timings": 3},
        "digests": {
            "metrics": hashlib.blake2b(b"12345").hexdigest(),
            "samples": hashlib.blake2b(b"").hexdigest(),
        },
    }
    return Checkpoint(**{**values, **changes})  # type: ignore[arg-type]


def saved_elsewhere(run: Path, step: int = 40) -> Checkpoint:
    """A checkpoint of files that another library has saved."""
    folder = run / f"draft-{step}"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return checkpoint(step, tensors={}, folder=folder)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def no_telling(text: str) -> None:
    raise AssertionError(text)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
