"""The core: attention in, token scores out. It knows no model, no data and no terminal.

That boundary is a promise: this package imports torch, jaxtyping and `abcrl.config`, takes tensors
and returns tensors. Whoever computed the attention, and whatever trains on the token scores, can be
replaced without touching it.

    credit = assign_credit("abc", Evidence(response_mask, reward_attention=attention))
    token_scores = densify(scores, credit.weights, response_mask, beta=0.8)

or, for any mode in one call, `assign_token_scores(mode, evidence, scores, beta)`.

What densifying promises: each row of `token_scores` sums to its score. At gamma = 1 the return of
every response, hence the objective, is unchanged, for every mode, weight and beta.

What it does not promise:

- *An unbiased gradient.* A policy gradient on reward-to-go drops the rewards before an action, as
  they cannot depend on it. Here they do: each token score contains the whole score, which depends
  on later tokens. The gradient is biased, and the optimum of the objective need not be a fixed
  point of the update. (After `x`, continuing with A scores 1 and credits x, with B scores 0.5 and
  credits B. At beta 1 the second token is rewarded 0 for A and 0.5 for B: the update prefers B.)
  `rlhf` and `red` are the exceptions: their gradient is exact.
- *Independence of the score's offset.* With a sparse reward a constant added to all scores is only
  a baseline. Spread over the response it rewards some tokens over others, so that even a constant
  score has a non-zero gradient. Fix the offset on purpose, before densifying.
- *Unchanged returns below gamma = 1.* Discounting weighs early tokens more, and spreading moves
  reward to them.

The method is that of Chan, Sun, Holt and van der Schaar, "Dense Reward for Free in Reinforcement
Learning from Human Feedback", ICML 2024, arXiv 2402.00782. `modes` says where we deviate.
"""

from abcrl.config import RewardMode

from .credit import Alignment, Credit, assign_credit
from .evidence import Evidence
from .health import (
    credit_entropy,
    effective_tokens,
    first_token_share,
    last_token_share,
    share_on,
)
from .modes import is_signed, needs
from .prefixes import prefix_differences
from .resampling import POSITIONS, fit_position_profile, resample_weights
from .spread import blend, densify
from .token_scores import TokenScores, assign_token_scores
from .transfer import Transferred, transfer

__all__ = [
    "POSITIONS",
    "Alignment",
    "Credit",
    "Evidence",
    "RewardMode",
    "TokenScores",
    "Transferred",
    "assign_credit",
    "assign_token_scores",
    "blend",
    "credit_entropy",
    "densify",
    "effective_tokens",
    "first_token_share",
    "fit_position_profile",
    "is_signed",
    "last_token_share",
    "needs",
    "prefix_differences",
    "resample_weights",
    "share_on",
    "transfer",
]
