"""The abc credit of SFT responses, frozen: what the controls `swapped` and `position` draw on.

It belongs to data and models, not to a run's seed, so that all arms and seeds share it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from abcrl.densification import (
    Evidence,
    assign_credit,
    fit_position_profile,
    resample_weights,
)


@dataclass(frozen=True, eq=False)
class ReferenceCredit:
    """A bank of abc credit.

    Attributes:
        weights: Credit of N responses.
        response_mask: Their tokens.
        profile: The mean credit of each tenth of a response.
    """

    weights: Float[Tensor, "N R"]
    response_mask: Bool[Tensor, "N R"]
    profile: Float[Tensor, "10"]

    @classmethod
    def fit(
        cls, attention: Float[Tensor, "N R"], response_mask: Bool[Tensor, "N R"]
    ) -> "ReferenceCredit":
        """Returns the credit that the reward model's attention gives these responses."""
        weights, _ = assign_credit("abc", Evidence(response_mask, reward_attention=attention))
        return cls(weights, response_mask, fit_position_profile(weights, response_mask))

    def donate(
        self, onto: Bool[Tensor, "B R"], uniforms: Float[Tensor, " B"]
    ) -> Float[Tensor, "B R"]:
        """Returns the credit of another response for each row, on the row's length.

        Among the responses of the nearest length, of the same one where there are any, each is as
        likely: resampling to another length blurs credit (`resample_weights`).

        Args:
            onto: The response mask of the rows that receive it.
            uniforms: One number in [0, 1) a row, which chooses.
        """
        donors = self._choose(onto.sum(-1), uniforms)
        return resample_weights(self.weights[donors], self.response_mask[donors], onto)

    def tensors(self) -> dict[str, Tensor]:
        """Returns everything, to be stored with the run."""
        return {
            "weights": self.weights.contiguous(),
            "response_mask": self.response_mask.contiguous(),
            "profile": self.profile.contiguous(),
        }

    def _choose(self, lengths: Int[Tensor, " B"], uniforms: Float[Tensor, " B"]) -> Tensor:
        distance = (self.response_mask.sum(-1) - lengths[:, None]).abs()
        nearest = distance == distance.amin(-1, keepdim=True)
        # The k-th of them, counted from 0; a product of float32 may round up to their number.
        count = nearest.sum(-1)
        chosen = torch.minimum((uniforms * count).long(), count - 1)
        return ((nearest.cumsum(-1) - 1 == chosen[:, None]) & nearest).int().argmax(-1)
