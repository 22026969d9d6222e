"""The reward modes: which tokens deserve credit, one function each, and the table that names them.

A credit function receives the response mask and the evidence that it needs, in float32 and 0
wherever it does not count (off the response; for pairs also j >= k). It returns raw credit
`[B, R]`, finite and >= 0, on any scale. Normalising, the fallback and the zeros off the response
are `assign_credit`'s.

A signed mode has no weights: its function receives evidence and scores as they are and returns the
spread itself, for `blend`.

Here are the paper's five; the other functions of the table are in `controls` and `prefixes`.

"The paper" is Chan, Sun, Holt and van der Schaar, "Dense Reward for Free in Reinforcement Learning
from Human Feedback", ICML 2024, arXiv 2402.00782; "its code" is the `redistribution.py` published
with it. Where attention has no mass on a response its code returns NaN or raises; here such a row
gets uniform credit and is flagged.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from abcrl.config import RewardMode

from .controls import dirichlet_row, donated_row, profile_at_tokens, shuffle_scored_row
from .evidence import Evidence
from .prefixes import spread_by_prefixes
from .refusals import refusal
from .scaling import scale_to_unit_peak
from .tokens import last_response_token, token_ranks

CreditFunction = Callable[..., Float32[Tensor, "B R"]]
"""`(response_mask, *, <each needed field>) -> raw credit`."""


SpreadFunction = Callable[[Evidence, Float[Tensor, " B"]], Float32[Tensor, "B R"]]
"""`(evidence, scores) -> spread`, which sums to the score in each row; checks what it is given."""


class ModeSpec(NamedTuple):
    """What a reward mode needs and how it credits."""

    credit: CreditFunction
    needs: frozenset[str] = frozenset()
    """Names of the `Evidence` fields that `credit` receives, besides the mask."""
    shifted_in_paper: bool = False
    """True where the paper's code credits the token after the one attended to."""


class SignedSpec(NamedTuple):
    """What a reward mode needs that gives tokens parts of the score of either sign."""

    spread: SpreadFunction
    needs: frozenset[str] = frozenset()
    """Names of the `Evidence` fields that `spread` reads, besides the mask."""


def last_token(response_mask: Bool[Tensor, "B R"]) -> Float32[Tensor, "B R"]:
    """rlhf: credit the last response token, w[j] = [j == r - 1].

    The ordinary sparse reward of RLHF. No deviation from the paper's code.
    """
    return last_response_token(response_mask).float()


def every_token(response_mask: Bool[Tensor, "B R"]) -> Float32[Tensor, "B R"]:
    """uniform: credit every response token alike, w[j] = 1.

    The paper's control for "dense, but blind". Its code always spreads the whole score (beta 1),
    whatever beta is given; here beta is obeyed.
    """
    return response_mask.float()


def scored_row(
    _response_mask: Bool[Tensor, "B R"], reward_attention: Float32[Tensor, "B R"]
) -> Float32[Tensor, "B R"]:
    """abc: credit what the *reward model* attends to where it reads its score, w[j] = R[j].

    The paper's ABC, Attention Based Credit. Its code takes the row of the last response token,
    which is the scored position's only if the response holds no EOS and keeps its length when it is
    tokenised again, and aligns a row of another length to the right. Here the caller hands over the
    row of the scored position, and a row of another length is refused.
    """
    return reward_attention


def mean_of_later_rows(
    response_mask: Bool[Tensor, "B R"], policy_attention: Float32[Tensor, "B R R"]
) -> Float32[Tensor, "B R"]:
    """abc-d: credit what the *policy* attends to on average while it writes the rest.

    w[j] = sum over k of P[k, j], j < k < r, divided by r - 1 - j, the number of those k; 0 for the
    last token, which nothing was written after. j and k count response tokens.

    The paper's ABC-D, from the attention of generation. Its code divides by the number of non-zero
    entries, so that an attention that underflows raises the mean; here by the number of rows that
    can see the token. Its code also credits token j + 1 in place of j (`alignment="paper"`).
    """
    # Credit is proportional to attention: the scale cancels, and with it the risk of overflow.
    attention = scale_to_unit_peak(policy_attention, dims=(1, 2))
    later_tokens = response_mask.sum(-1, keepdim=True) - 1 - token_ranks(response_mask)
    return attention.sum(1) / later_tokens.clamp(min=1)


def last_row(
    response_mask: Bool[Tensor, "B R"], policy_attention: Float32[Tensor, "B R R"]
) -> Float32[Tensor, "B R"]:
    """abc-d2: credit what the *policy* attends to while it chooses the last token, P[r - 1, j].

    The paper's ABC-D2. Its code credits token j + 1 in place of j (`alignment="paper"`), raises on
    responses of one token and drops the head axis of a policy with one head.
    """
    rows = torch.arange(response_mask.shape[0], device=response_mask.device)
    last = last_response_token(response_mask).int().argmax(-1)
    return policy_attention[rows, last]


MODES: Final[dict[str, ModeSpec | SignedSpec]] = {
    RewardMode.ABC: ModeSpec(scored_row, frozenset({"reward_attention"})),
    RewardMode.RLHF: ModeSpec(last_token),
    RewardMode.UNIFORM: ModeSpec(every_token),
    RewardMode.ABC_D: ModeSpec(
        mean_of_later_rows, frozenset({"policy_attention"}), shifted_in_paper=True
    ),
    RewardMode.ABC_D2: ModeSpec(last_row, frozenset({"policy_attention"}), shifted_in_paper=True),
    RewardMode.SHUFFLED: ModeSpec(shuffle_scored_row, frozenset({"reward_attention", "noise"})),
    RewardMode.SWAPPED: ModeSpec(donated_row, frozenset({"bank_row"})),
    RewardMode.POSITION: ModeSpec(profile_at_tokens, frozenset({"profile"})),
    RewardMode.RANDOM: ModeSpec(dirichlet_row, frozenset({"reward_attention", "noise"})),
    RewardMode.RED: SignedSpec(spread_by_prefixes, frozenset({"prefix_scores"})),
}
"""The one place that knows all modes. A `RewardMode` is its own name, so `MODES["abc"]` works."""


def find_mode(mode: RewardMode | str) -> ModeSpec | SignedSpec:
    """Return the table's entry for a mode.

    Raises:
        ValueError: no such mode; the message lists those there are.
    """
    if not isinstance(mode, str) or mode not in MODES:
        raise refusal("mode", "name a reward mode", repr(mode), f"choose from {', '.join(MODES)}")
    return MODES[mode]


def needs(mode: RewardMode | str) -> frozenset[str]:
    """Return the names of the `Evidence` fields, besides `response_mask`, that a mode reads.

    This alone decides what a caller captures: `rlhf` and `uniform` need nothing.

    Raises:
        ValueError: no such mode.
    """
    return find_mode(mode).needs


def is_signed(mode: RewardMode | str) -> bool:
    """Return whether a mode gives tokens parts of the score of either sign, and has no weights.

    Raises:
        ValueError: no such mode.
    """
    return isinstance(find_mode(mode), SignedSpec)
