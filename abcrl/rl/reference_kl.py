"""The reference in the update: its logits, and the KL to it as a loss term."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from abcrl.config import KlConfig, PpoSettings, ResponseConfig
from abcrl.models import response_logits

from .actors import Actors
from .formulas.kl import exact_kl, token_kl
from .formulas.logprobs import constrain_logits
from .formulas.masked import masked_sum
from .sampling.responses import Responses


@dataclass(frozen=True)
class ReferenceKl:
    """What the update knows of the reference.

    Attributes:
        config: Kind and weight of the loss term, and when an update's epochs end.
        logits: The reference's logits [B, R, V] of some responses, as they are sampled from.
    """

    config: KlConfig
    logits: Callable[[Responses], Tensor]

    @classmethod
    def of(cls, actors: Actors, settings: PpoSettings) -> "ReferenceKl":
        """Returns it for the networks and settings of a run."""
        return cls(settings.kl, partial(reference_logits, actors, response=settings.response))


@torch.no_grad()
def reference_logits(
    actors: Actors, responses: Responses, response: ResponseConfig
) -> Float[Tensor, "B R V"]:
    """Returns the logits that the reference would have chosen each response token from."""
    with actors.reference() as model:
        logits, _ = response_logits(
            model, responses.sequences, responses.attention_mask, responses.response_width
        )
    return constrain_logits(
        logits,
        temperature=response.temperature,
        min_new_tokens=response.min_new_tokens,
        eos_token_id=actors.eos_token_id,
        in_place=True,
    )


def k2_loss_sum(
    logprobs: Float[Tensor, "B R"], ref_logprobs: Float[Tensor, "B R"], responses: Responses
) -> Float[Tensor, ""]:
    """Returns the sum over tokens of (logprobs - ref_logprobs)^2 / 2.

    On tokens that the policy itself has drawn, the expectation of its gradient is the gradient of
    KL(policy || ref_policy) at that position: E[d * grad log p] (http://joschu.net/blog/kl-approx.html).
    """
    return masked_sum(token_kl(logprobs, ref_logprobs, "k2"), responses.response_mask)


def exact_loss_sum(
    logits: Float[Tensor, "B R V"], ref_logits: Float[Tensor, "B R V"], responses: Responses
) -> Float[Tensor, ""]:
    """Returns the sum over tokens of KL(policy || ref_policy), over the whole vocabulary."""
    logps, ref_logps = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return exact_kl(logps, ref_logps, responses.response_mask).sum()
