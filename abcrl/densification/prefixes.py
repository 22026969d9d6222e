"""red: the score as the sum of what each token changes in the reward model's mind.

Li et al., "RED: Unleashing Token-Level Rewards from Holistic Feedback via Reward Redistribution",
EMNLP 2025, arXiv 2411.08302: the reward of a token is the score of the prefix that ends in it, less
the score of the prefix before it.
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from .evidence import Evidence, read_fields
from .refusals import enforce, has_response, is_finite, require_floats, require_mask
from .tokens import first_response_token, last_response_token, move_to_next_token


@torch.no_grad()
def prefix_differences(
    prefix_scores: Float[Tensor, "B prefixes"],
    scores: Float[Tensor, " B"],
    response_mask: Bool[Tensor, "B R"],
) -> Float32[Tensor, "B R"]:
    """Return each score as the changes that its tokens made to it, any sign; for `blend`.

    With V_t the score of the prompt and the first t of r response tokens,

    spread_t = V_t - V_{t-1} for t < r,  spread_r = score - V_{r-1} + V_0

    A token's part depends on nothing written after it, but for V_0, which no action changes: the
    gradient of reward-to-go is exact, whatever V is. What V decides is its variance.

    Deviates from the source in the last token, where V_0 is added so that the row sums to the score
    itself, not to the score less V_0; that constant is a baseline.

    Args:
        prefix_scores: `[B, R + 1]`, in reward units; column c holds the score before response
            column c, column c + 1 the one after its token. Read: V_0 to V_{r-1}.
        scores: one number per response; may differ from V_r by an offset.
        response_mask: True = this response token counts.

    Returns:
        spread in float32, outside of autograd, 0 off the response. Each row sums to its score
        within 1e-5 * max(1, |score|, |V|).

    Raises:
        ValueError: wrong type, shape, dtype or device; a row without a response token; a score,
            prefix score or difference that is not finite in float32.
    """
    return spread_by_prefixes(Evidence(response_mask, prefix_scores=prefix_scores), scores)


def spread_by_prefixes(evidence: Evidence, scores: Float[Tensor, " B"]) -> Float32[Tensor, "B R"]:
    """red: what each token changes in the score, `prefix_differences`."""
    mask = evidence.response_mask
    require_mask(mask)
    require_floats("scores", scores, "B", mask)
    scores = scores.to(torch.float32)
    observed, rules = read_fields(evidence, frozenset({"prefix_scores"}), "red")
    prefix_scores = observed["prefix_scores"]

    first, last = first_response_token(mask), last_response_token(mask)
    after = prefix_scores[:, 1:]
    start = prefix_scores[:, :-1].masked_fill(~first, 0).sum(-1, keepdim=True)
    before = start.where(first, move_to_next_token(after, mask))
    last_change = scores[:, None] - (before - start)
    spread = last_change.where(last, after - before).masked_fill(~mask, 0)
    enforce(
        has_response(mask),
        is_finite("scores", scores),
        *rules,
        is_finite("spread of mode red", spread),
    )
    return spread
