"""The best model seen in a run, and when to stop looking for a better one."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

_FILE = "best.safetensors"


class EarlyStopping:
    """Keeps the weights of the lowest held-out loss in a file, and counts evaluations since.

    Attributes:
        step: That of the best model; None: none has been evaluated.
    """

    def __init__(self, patience: int | None) -> None:
        """Takes how many evaluations in a row may bring no lower loss; None: it does nothing."""
        self._patience = patience
        self._folder: Path | None = None
        self.step: int | None = None
        self._loss = float("inf")
        self._misses = 0

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return self._patience is not None

    @property
    def exhausted(self) -> bool:
        """Whether to stop."""
        return self._patience is not None and self._misses >= self._patience

    def begin(self, folder: Path, stored: dict[str, Any] | None, source: Path | None) -> None:
        """Begins, or goes on from what a checkpoint holds.

        Args:
            folder: Where the best weights are kept from now on.
            stored: What `state` said; None: nothing yet.
            source: Folder of the checkpoint.
        """
        self._folder = folder
        if stored is None or source is None:
            return
        self.step, self._loss = stored["step"], stored["loss"]
        self._misses = stored["misses"]
        shutil.copyfile(source / _FILE, folder / _FILE)

    def state(self) -> dict[str, Any] | None:
        """Returns what `begin` goes on from, as JSON; None: nothing has been seen."""
        if self.step is None:
            return None
        return {"step": self.step, "loss": self._loss, "misses": self._misses}

    def judge(self, model: nn.Module, step: int, loss: float) -> None:
        """Notes the held-out loss after a step, and keeps the model if it is the best so far."""
        if self._patience is None:
            return
        if loss < self._loss:
            self.step, self._loss, self._misses = step, loss, 0
            save_trained(model, self._file)
        else:
            self._misses += 1

    def describe(self, step: int) -> str:
        """Says what comes of it after the last step."""
        best = f"the model of step {self.step} (eval/loss {self._loss:.4g})"
        if not self.exhausted:
            return f"keeps {best}, the best of those evaluated"
        return (
            f"stopped at step {step}: in {self._misses} evaluations eval/loss has not fallen below "
            f"that of step {self.step}; keeps {best}"
        )

    def copy_best(self, folder: Path) -> None:
        """Puts the best weights, if there are any, into a folder."""
        if self.step is not None:
            shutil.copyfile(self._file, folder / _FILE)

    def take_best(self, model: nn.Module) -> None:
        """Puts the best weights back into the model."""
        load_trained(model, self._file)

    @property
    def _file(self) -> Path:
        assert self._folder is not None
        return self._folder / _FILE


def save_trained(model: nn.Module, file: Path) -> None:
    """Writes the parameters that are trained, under their names; tied ones once."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    save_file({name: p.detach().contiguous() for name, p in trained.items()}, file)


@torch.no_grad()
def load_trained(model: nn.Module, file: Path) -> None:
    """Puts back, bit by bit, what `save_trained` wrote of this model."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    stored = load_file(file)
    assert stored.keys() == trained.keys()
    for name, parameter in trained.items():
        parameter.copy_(stored[name])
