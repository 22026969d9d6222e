"""Evidence: everything a reward mode may look at, and which part of it counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .refusals import Rule, is_evidence, is_finite, is_uniform, refusal, require_floats
from .tokens import first_response_token, last_response_token


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

    noise: Float[Tensor, "B R"] | None = None
    """One uniform random number in [0, 1) for each response token.

    It belongs to the row as its attention does: seeded by the prompt, not drawn for the batch, so
    that a row's credit depends on no other row. And by a stream of its own: credit that is drawn
    with the numbers that the response was sampled with would depend on what was written.
    """

    bank_row: Float[Tensor, "B R"] | None = None
    """The ABC weights of another response, brought to this one's length by `resample_weights`."""

    profile: Float[Tensor, "10"] | None = None
    """Credit over ten relative positions, the same for every response: `fit_position_profile`."""

    prefix_scores: Float[Tensor, "B R+1"] | None = None
    """The reward model's score of every prefix; column c is what it says before response column c.

    So column c + 1 is the score after the token of column c, and with right padding column 0 is
    that of the prompt alone. Any sign, in reward units, on the scale of the scores (their offset
    may differ).
    """


Reading = tuple[Float32[Tensor, "..."], list[Rule]]
"""A field in float32, 0 where it does not count, and the rules that its values have to meet."""


def _read_tokens(field: str, values: Tensor, mask: Bool[Tensor, "B R"]) -> Reading:
    """Evidence per token: what lies on response tokens counts."""
    return values.masked_fill(~mask, 0), [is_evidence(field, values, mask)]


def _read_pairs(field: str, values: Tensor, mask: Bool[Tensor, "B R"]) -> Reading:
    """Evidence per pair (k, j): what lies on pairs of response tokens with j before k counts."""
    pairs = mask[:, :, None] & mask[:, None, :]
    earlier = pairs.tril(-1)
    rules = [is_evidence(field, values, earlier), _is_causal(field, values, pairs & ~earlier)]
    return values.masked_fill(~earlier, 0), rules


def _read_noise(field: str, values: Tensor, mask: Bool[Tensor, "B R"]) -> Reading:
    """Random numbers per token: what lies on response tokens counts."""
    return values.masked_fill(~mask, 0), [is_uniform(field, values, mask)]


def _read_profile(field: str, values: Tensor, _mask: Bool[Tensor, "B R"]) -> Reading:
    """A table that belongs to no response: all of it counts."""
    return values, [is_evidence(field, values)]


def _read_prefixes(field: str, values: Tensor, mask: Bool[Tensor, "B R"]) -> Reading:
    """Scores before and after tokens: before the first and after all but the last count.

    After the last token stands the score itself.
    """
    pad = torch.nn.functional.pad
    before_first = pad(first_response_token(mask), (0, 1))
    after_others = pad(mask & ~last_response_token(mask), (1, 0))
    counts = before_first | after_others
    return values.masked_fill(~counts, 0), [is_finite(field, values, counts)]


class FieldSpec(NamedTuple):
    """The shape of a field, in the letters of the mask and numbers, and how to read it."""

    axes: str
    read: Callable[[str, Tensor, Bool[Tensor, "B R"]], Reading]


FIELDS: Final[Mapping[str, FieldSpec]] = MappingProxyType(
    {
        "reward_attention": FieldSpec("B R", _read_tokens),
        "policy_attention": FieldSpec("B R R", _read_pairs),
        "noise": FieldSpec("B R", _read_noise),
        "bank_row": FieldSpec("B R", _read_tokens),
        "profile": FieldSpec("10", _read_profile),
        "prefix_scores": FieldSpec("B R+1", _read_prefixes),
    }
)
"""Every field but the mask."""


def read_fields(
    evidence: Evidence, fields: frozenset[str], mode: str
) -> tuple[dict[str, Float32[Tensor, "..."]], list[Rule]]:
    """Return the fields in float32, 0 wherever they do not count, and the rules they have to meet.

    Args:
        evidence: its `response_mask` is already checked.
        fields: names from `needs(mode)`.
        mode: the reward mode that asks, for the message.

    Raises:
        ValueError: a field is missing, or has a wrong type, shape, dtype or device.
    """
    observed, rules = {}, []
    for field in sorted(fields):
        values = getattr(evidence, field)
        if values is None:
            remedy = f"capture every field named by needs({str(mode)!r})"
            raise refusal(f"evidence.{field}", f"be given for reward mode {mode}", None, remedy)
        require_floats(field, values, FIELDS[field].axes, evidence.response_mask)
        reading = FIELDS[field].read(field, values.to(torch.float32), evidence.response_mask)
        observed[field], promises = reading
        rules += promises
    return observed, rules


def _is_causal(
    field: str, values: Float32[Tensor, "B R R"], not_yet_written: Bool[Tensor, "B R R"]
) -> Rule:
    """No attention is paid to a token before it is written."""
    # A capture that reads one row too late breaks this on its diagonal. Left unsaid, the mistake
    # would move all credit by one token and show in no other number.
    remedy = "give row k the attention of sequence position P + k - 1, P tokens being the prompt"
    holds = (values == 0) | ~not_yet_written
    return Rule(field, "be 0 where column >= row", holds, values, remedy)
