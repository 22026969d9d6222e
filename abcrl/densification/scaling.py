"""Arithmetic that neither overflows nor underflows."""

import torch
from jaxtyping import Float32
from torch import Tensor


def scale_to_unit_peak(
    values: Float32[Tensor, "*shape"], dims: tuple[int, ...]
) -> Float32[Tensor, "*shape"]:
    """Return non-negative values divided by their largest over `dims`; all-zero slices stay zero.

    A sum over the result lies between 1 and the number of entries, so neither denormals nor values
    near the end of the float32 range are lost in it.
    """
    peak = values.amax(dims, keepdim=True)
    return values / peak.where(peak > 0, 1)


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, for what cancels in float32; float32 on MPS, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64
