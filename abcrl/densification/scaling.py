"""Scale without overflow or underflow."""

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
