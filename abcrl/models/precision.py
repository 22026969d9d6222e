"""Mixed precision: a model whose forward passes compute in bfloat16, whatever calls them."""

import functools
import types
from typing import Any

import torch
from torch import nn

from abcrl.config import InputError


def require_bf16(device: torch.device, key: str) -> None:
    """Refuses bfloat16 on a device that does not compute in it.

    Raises:
        InputError: It names the key.
    """
    if device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"{key}: must be float32 on this device ({device}), received bf16; run on a GPU that "
            f"computes in bfloat16, or --set {key}=float32"
        )


def compute_in_bf16(model: nn.Module) -> None:
    """Runs every forward pass of the model under autocast; the weights stay float32.

    On the model itself, because sampling, scoring and training must all see the same distribution,
    and `generate` calls the model from within.
    """
    own: Any = type(model).forward

    @functools.wraps(own)  # transformers reads the signature
    def forward(self: nn.Module, *args: object, **kwargs: object) -> object:
        device = next(self.parameters()).device
        with torch.autocast(device.type, torch.bfloat16):
            return own(self, *args, **kwargs)

    # A method and no closure over the model: a deep copy then runs its own weights.
    model.forward = types.MethodType(forward, model)
