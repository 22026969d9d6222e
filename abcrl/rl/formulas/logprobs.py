"""The distribution that a response is drawn from, and the log-probability of what was drawn.

Sampling and scoring, policy and reference, old and new all go through `constrain_logits`: a
distribution that is sampled from but not scored (or the reverse) makes the KL meaningless.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

BANNED_LOGIT = torch.finfo(torch.float32).min
"""Probability exactly 0 after a softmax; unlike -inf it makes no NaN in products with 0."""


def constrain_logits(
    logits: Float[Tensor, "B R V"],
    *,
    temperature: float,
    min_new_tokens: int,
    eos_token_id: int,
    first_position: int = 0,
    in_place: bool = False,
) -> Float[Tensor, "B R V"]:
    """Returns the logits of the distribution that is both sampled from and scored.

    logits / temperature, then EOS banned at the first `min_new_tokens` response positions.

    Scoring passes all response positions at once; sampling passes one at a time,
    `constrain_logits(logits[:, None], ..., first_position=k)[:, 0]`, and gets the same numbers.

    Args:
        logits: [B, R, V], where logits[:, i] chooses response token `first_position + i`; any
            float dtype. Not changed unless `in_place`: the result is a tensor of its own.
        temperature: Above 0; 1 leaves the model's distribution as it is.
        min_new_tokens: EOS cannot be response token 0 .. min_new_tokens - 1.
        eos_token_id: The token that ends a response.
        first_position: Response position of logits[:, 0].
        in_place: The logits are a model's own output that nothing else reads: where they need no
            more than the ban, they are the result, and no second tensor of their size is made.

    Returns:
        [B, R, V], float32; banned entries hold finfo(float32).min and get no gradient.

    Raises:
        ValueError: `temperature` is not above 0, or `eos_token_id` is outside the vocabulary.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, received {temperature}")
    if not 0 <= eos_token_id < logits.shape[-1]:
        raise ValueError(
            f"eos_token_id must be below the vocabulary's {logits.shape[-1]} tokens, "
            f"received {eos_token_id}"
        )
    banned_positions = max(min_new_tokens - first_position, 0)
    if in_place and temperature == 1 and logits.dtype == torch.float32:
        # Behind autograd's back, which would copy the gradient to set these entries to 0. They are
        # 0 already: that of a token of probability 0 which is not the one that was chosen.
        logits.detach()[:, :banned_positions, eos_token_id] = BANNED_LOGIT
        return logits
    constrained = logits.to(torch.float32, copy=True)
    if temperature != 1:
        constrained.div_(temperature)
    constrained[:, :banned_positions, eos_token_id] = BANNED_LOGIT
    return constrained


def gather_logprobs(
    logits: Float[Tensor, "B R V"], tokens: Int[Tensor, "B R"]
) -> Float[Tensor, "B R"]:
    """Returns the log-probability of each token.

    log p(token) = logits[token] - logsumexp(logits)

    Args:
        logits: [B, R, V], constrained (`constrain_logits`); logits[:, i] chooses tokens[:, i].
        tokens: [B, R], ids; off the response any valid id.

    Returns:
        [B, R], float32 nats.
    """
    # Fused forward and backward, which keep no second [B, R, V] tensor of log-probabilities.
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), tokens.flatten(), reduction="none"
    )
    return -losses.view(tokens.shape)
