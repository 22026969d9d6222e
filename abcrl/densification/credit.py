"""Credit: evidence in, weights over the response's tokens out, the same way for every mode."""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from abcrl.config import RewardMode

from .evidence import Evidence, read_fields
from .modes import ModeSpec, find_mode
from .refusals import enforce, has_response, is_evidence, refusal, require_mask
from .scaling import scale_to_unit_peak
from .tokens import move_to_next_token

Alignment = Literal["attended", "paper"]


class Credit(NamedTuple):
    """How a score is to be shared among the tokens of its response."""

    weights: Float32[Tensor, "B R"]
    """>= 0, exactly 0 off the response; each row sums to 1."""
    fell_back: Bool[Tensor, " B"]
    """True where the evidence had no mass on the response and the row is uniform instead."""


@torch.no_grad()
def assign_credit(
    mode: RewardMode | str, evidence: Evidence, *, alignment: Alignment = "attended"
) -> Credit:
    """Return the weights with which a reward mode credits each response token.

    weights[j] = raw[j] / sum over the response of raw, with the mode's raw credit (`modes`).
    A row that has no raw credit anywhere gets 1 / r on each of its r tokens, and is flagged.

    Args:
        mode: a `RewardMode` or its name.
        evidence: the mask, and at least the fields that `needs(mode)` names.
        alignment: "attended" credits the token that was attended to. "paper" credits the next
            response token in the modes whose published code does so (abc-d, abc-d2): the first
            token gets nothing. The other modes are the same under both.

    Returns:
        Credit on the device of the mask, in float32, outside of autograd. Each row of `weights`
        sums to 1 within 1e-6 (1e-5 above 1,000 tokens) and depends on no other row.

    Raises:
        ValueError: unknown mode or alignment; a signed mode, which has no weights; missing
            evidence; wrong type, shape, dtype or device; a row without a response token; on the
            response, evidence that is negative or not finite in float32, noise outside [0, 1);
            policy attention to a token that was not yet written.
    """
    spec = find_mode(mode)
    if not isinstance(spec, ModeSpec):
        remedy = "its spread is signed: call assign_token_scores"
        raise refusal("mode", "credit by weights", repr(str(mode)), remedy)
    require_alignment(alignment)
    mask = evidence.response_mask
    require_mask(mask)
    observed, rules = read_fields(evidence, spec.needs, mode)
    raw = spec.credit(mask, **observed)
    if alignment == "paper" and spec.shifted_in_paper:
        raw = move_to_next_token(raw, mask)
    # The mode's own promise comes last, so that bad evidence is blamed before the mode.
    enforce(has_response(mask), *rules, is_evidence(f"raw credit of mode {mode}", raw, mask))
    return normalise(raw, mask)


def require_alignment(alignment: str) -> None:
    """Refuse what is no `Alignment`."""
    if alignment not in get_args(Alignment):
        remedy = f"choose from {', '.join(get_args(Alignment))}"
        raise refusal("alignment", "name an alignment", repr(alignment), remedy)


def normalise(raw: Float32[Tensor, "B R"], response_mask: Bool[Tensor, "B R"]) -> Credit:
    """Return raw credit as weights that sum to 1 over the response; uniform where there is none."""
    scaled = scale_to_unit_peak(raw.masked_fill(~response_mask, 0), dims=(-1,))
    fell_back = (scaled == 0).all(-1)
    shares = torch.where(fell_back[:, None], response_mask.float(), scaled)
    return Credit(shares / shares.sum(-1, keepdim=True), fell_back)
