"""Statistics over the response tokens of a batch: what `response_mask` leaves out never counts.

Entries off the mask are selected away, not multiplied by zero: a NaN or an infinity in the padding
stays there.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WHITEN_EPSILON = 1e-8


def masked_sum(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float[Tensor, ""]:
    """Returns the sum of `values` over all response tokens of the batch.

    Args:
        values: [B, R].
        response_mask: [B, R], True = this response token counts.

    Returns:
        A scalar; 0 where the mask is empty.
    """
    return values.where(response_mask, 0.0).sum()


def masked_row_sums(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float[Tensor, " B"]:
    """Returns the sum of `values` over the tokens of each response, e.g. the KL of a response.

    Args:
        values: [B, R].
        response_mask: [B, R], True = this response token counts.

    Returns:
        [B].
    """
    return values.where(response_mask, 0.0).sum(dim=-1)


def masked_mean(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float[Tensor, ""]:
    """Returns the mean of `values` over all response tokens of the batch (tokens weigh equally).

    Args:
        values: [B, R].
        response_mask: [B, R], True = this response token counts.

    Returns:
        A scalar; 0 where the mask is empty.
    """
    return masked_sum(values, response_mask) / response_mask.sum().clamp(min=1)


def masked_variance(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]
) -> Float[Tensor, ""]:
    """Returns the Bessel-corrected variance of `values` over all response tokens of the batch.

    variance = sum((x - mean)^2) / (n - 1)

    Args:
        values: [B, R].
        response_mask: [B, R], True = this response token counts.

    Returns:
        A scalar; 0 for a single token (trl 0.7.4 gives NaN).
    """
    squares = (values - masked_mean(values, response_mask)).square()
    return masked_sum(squares, response_mask) / (response_mask.sum() - 1).clamp(min=1)


def whiten(
    values: Float[Tensor, "B R"], response_mask: Bool[Tensor, "B R"], *, shift_mean: bool = True
) -> Float[Tensor, "B R"]:
    """Returns `values` scaled to variance 1 over all response tokens of the batch.

    whitened = (x - mean) / sqrt(variance + 1e-8), plus the mean again if it is not to be shifted

    Args:
        values: [B, R].
        response_mask: [B, R], True = this response token counts.
        shift_mean: True shifts the mean to 0; False keeps the mean where it was.

    Returns:
        [B, R], exactly 0 off the mask. A single token becomes 0, or keeps its value where the
        mean is not shifted.

    Deviations from trl 0.7.4 (`masked_whiten`): entries off the mask are 0 and not transformed
    along with the rest; a single token is no NaN.
    """
    mean = masked_mean(values, response_mask)
    variance = masked_variance(values, response_mask)
    whitened = (values - mean) * torch.rsqrt(variance + WHITEN_EPSILON)
    if not shift_mean:
        whitened = whitened + mean
    return whitened.where(response_mask, 0.0)
