"""What this room says no to, and in which words.

Every refusal is a `ValueError` of one line: field, rule, received, what to do. What can be read
without waiting for the device (types, shapes, dtypes) is refused at once; what depends on values is
collected as `Rule`s and asked for in one go.
"""

from numbers import Real
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

SUM_TOLERANCE: Final = 1e-5
"""How far a row of weights may be from summing to 1: what float32 costs at thousands of tokens."""


class Rule(NamedTuple):
    """A promise about the values of a field: where it holds, and what to say where it does not."""

    field: str
    rule: str
    """Continues the sentence "<field> must ..."."""
    holds: Bool[Tensor, "..."]
    values: Shaped[Tensor, "..."]
    """What was received, in the shape of `holds`."""
    remedy: str


def refusal(field: str, rule: str, received: object, remedy: str) -> ValueError:
    """Return the error that every refusal raises."""
    return ValueError(f"{field} must {rule}, received {received}; {remedy}")


def enforce(*rules: Rule) -> None:
    """Return if every rule holds everywhere.

    Raises:
        ValueError: for the first rule that does not, with the first offending value and its index.
    """
    # Asking a GPU tensor whether it is true waits for all queued work. The rules are therefore
    # folded into one answer: good input pays for one wait, and only a refusal looks closer.
    if bool(torch.stack([rule.holds.all() for rule in rules]).all()):
        return
    broken = next(rule for rule in rules if not rule.holds.all())
    index = (~broken.holds).nonzero()[0].tolist()
    value = broken.values[tuple(index)].item()
    raise refusal(broken.field, broken.rule, f"{value:g} at index {index}", broken.remedy)


def require_mask(mask: Bool[Tensor, "B R"], field: str = "response_mask") -> None:
    """Refuse a mask that is not bool `[B, R]` with R >= 1."""
    remedy = "pass True for each token that counts"
    if not isinstance(mask, Tensor):
        raise refusal(field, "be a torch.Tensor", type(mask).__name__, remedy)
    if mask.dtype != torch.bool:
        raise refusal(field, "be bool", mask.dtype, remedy)
    if mask.ndim != 2 or mask.shape[1] == 0:
        raise refusal(field, "have shape [B, R], R >= 1", list(mask.shape), remedy)


def require_floats(field: str, values: Tensor, axes: str, response_mask: Tensor) -> None:
    """Refuse a tensor that is not floating point, not of shape `axes`, or on another device.

    Args:
        field: the name to use in the message.
        values: what was received.
        axes: the shape in the letters of the mask and in numbers: `"B R R"`, `"B R+1"`, `"10"`.
        response_mask: bool `[B, R]`, already checked; it sets B, R and the device.
    """
    if not isinstance(values, Tensor):
        raise refusal(field, "be a torch.Tensor", type(values).__name__, "convert it")
    if not values.is_floating_point():
        raise refusal(field, "be floating point", values.dtype, "convert it with .float()")
    B, R = response_mask.shape
    sizes = {"B": B, "R": R, "R+1": R + 1}
    shape = [sizes[axis] if axis in sizes else int(axis) for axis in axes.split()]
    if list(values.shape) != shape:
        rule = f"have shape [{', '.join(axes.split())}] = {shape}"
        remedy = "match it to response_mask [B, R]" if "B" in axes else f"give {axes} numbers"
        raise refusal(field, rule, list(values.shape), remedy)
    if values.device != response_mask.device:
        rule = f"be on the device of response_mask ({response_mask.device})"
        raise refusal(field, rule, values.device, "move one of them")


def require_beta(beta: float) -> None:
    """Refuse a beta that is not a plain number in [0, 1]."""
    is_number = isinstance(beta, Real) and not isinstance(beta, bool)
    # Written so that NaN, which compares false with everything, is refused too.
    if not (is_number and 0 <= beta <= 1):
        remedy = "it is the share of the score that is spread over the response"
        raise refusal("beta", "be a number in [0, 1]", repr(beta), remedy)


def has_response(response_mask: Bool[Tensor, "B R"]) -> Rule:
    """Every row has at least one response token."""
    counts = response_mask.sum(-1)
    rule, remedy = "have a response token in every row", "drop rows whose response is empty"
    return Rule("response_mask", rule, counts > 0, counts, remedy)


def is_finite(field: str, values: Float[Tensor, "..."], where: Tensor | None = None) -> Rule:
    """The values are finite in float32, on the entries `where` (None: everywhere)."""
    holds = values.isfinite() if where is None else values.isfinite() | ~where
    remedy = "look for an overflow or NaN where it was computed"
    return Rule(field, "be finite in float32", holds, values, remedy)


def is_evidence(
    field: str, values: Float[Tensor, "..."], where: Bool[Tensor, "..."] | None = None
) -> Rule:
    """The values are finite in float32 and not negative, on the entries `where` (None: all)."""
    holds = values.isfinite() & (values >= 0)
    rule = "be finite in float32 and >= 0"
    if where is not None:
        holds, rule = holds | ~where, f"{rule} on the response"
    remedy = "look for an overflow, a NaN or logits in place of probabilities where it was computed"
    return Rule(field, rule, holds, values, remedy)


def is_uniform(field: str, values: Float[Tensor, "..."], where: Bool[Tensor, "..."]) -> Rule:
    """The values are random numbers of [0, 1) on the entries `where`."""
    holds = ((values >= 0) & (values < 1)) | ~where
    remedy = "draw it with torch.rand, in float32: narrower types round up to 1"
    return Rule(field, "be in [0, 1) on the response", holds, values, remedy)
