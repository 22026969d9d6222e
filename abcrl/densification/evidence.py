"""Evidence: everything a reward mode may look at, and which part of it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .refusals import Rule, is_evidence, refusal, require_floats


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was observed about a batch of responses; `needs(mode)` says which fields a mode reads.

    Attention may have any floating point dtype and any scale: only its proportions within a row
    matter. Entries off the response are never read, whatever they hold (padding, NaN).
    """

    response_mask: Bool[Tensor, "B R"]
    """True = this response token counts. Padding on either side, and holes, are allowed."""

    reward_attention: Float[Tensor, "B R"] | None = None
    """The reward model's attention, in the row of the position that its score is read from.

    Last layer, mean over heads, cut to the response columns, not normalised.
    """

    policy_attention: Float[Tensor, "B R R"] | None = None
    """The policy's attention `[b, k, j]` paid to token j while token k was being chosen.

    Last layer, mean over heads. Row k is the row of the sequence position before token k, which
    cannot have seen token k: 0 wherever j >= k.
    """


AXES: Final[Mapping[str, str]] = MappingProxyType(
    {"reward_attention": "B R", "policy_attention": "B R R"}
)
"""The shape of each field that is captured: evidence per token, or per pair of tokens (k, j)."""


def read_field(
    evidence: Evidence, field: str, mode: str
) -> tuple[Float32[Tensor, "B R ..."], list[Rule]]:
    """Return one field in float32, 0 wherever it does not count, and the rules it has to meet.

    What counts: response tokens; of pairs (k, j), response tokens with j before k.

    Args:
        evidence: its `response_mask` is already checked.
        field: a name from `needs(mode)`.
        mode: the reward mode that asks, for the message.

    Raises:
        ValueError: the field is missing, or has a wrong type, shape, dtype or device.
    """
    values = getattr(evidence, field)
    if values is None:
        remedy = f"capture every field named by needs({str(mode)!r})"
        raise refusal(f"evidence.{field}", f"be given for reward mode {mode}", None, remedy)
    mask = evidence.response_mask
    require_floats(field, values, AXES[field], mask)
    values = values.to(torch.float32)
    if values.ndim == 2:
        return values.masked_fill(~mask, 0), [is_evidence(field, values, mask)]
    pairs = mask[:, :, None] & mask[:, None, :]
    earlier = pairs.tril(-1)
    rules = [is_evidence(field, values, earlier), _is_causal(field, values, pairs & ~earlier)]
    return values.masked_fill(~earlier, 0), rules


def _is_causal(
    field: str, values: Float32[Tensor, "B R R"], not_yet_written: Bool[Tensor, "B R R"]
) -> Rule:
    """No attention is paid to a token before it is written."""
    # A capture that reads one row too late breaks this on its diagonal. Left unsaid, the mistake
    # would move all credit by one token and show in no other number.
    remedy = "give row k the attention of sequence position P + k - 1, P tokens being the prompt"
    holds = (values == 0) | ~not_yet_written
    return Rule(field, "be 0 where column >= row", holds, values, remedy)
