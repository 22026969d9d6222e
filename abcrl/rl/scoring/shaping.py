"""What is done to a score before it is spread, and what is put on the last token afterwards.

The score is shifted, scaled and clipped as one number per response: done to token rewards, the same
would treat the spike of a sparse reward and the many small parts of a dense one differently.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass
class RunningDeviation:
    """The standard deviation of all numbers seen so far. Its whole state are its three fields.

    Attributes:
        count: How many numbers.
        mean: Their mean.
        squares: The sum of their squared differences from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, numbers: Float[Tensor, " B"]) -> None:
        """Takes a batch in (Chan, Golub and LeVeque 1983: how to merge two variances)."""
        batch = numbers.cpu().double()  # MPS has no float64
        count, mean = len(batch), float(batch.mean())
        total, difference = self.count + count, mean - self.mean
        self.squares += float((batch - mean).square().sum())
        self.squares += difference**2 * self.count * count / total
        self.mean += difference * count / total
        self.count = total

    @property
    def value(self) -> float:
        """sqrt(squares / (count - 1)); 1, which scales nothing, until two numbers differ."""
        if self.squares == 0:
            return 1.0
        return float((self.squares / (self.count - 1)) ** 0.5)


def shape_scores(
    scores: Float[Tensor, " B"], *, offset: float, scale: float = 1.0, clip: float | None = None
) -> Float[Tensor, " B"]:
    """Returns clip((score - offset) / scale, -clip, clip): what is spread over the tokens.

    Args:
        scores: As the reward model gives them.
        offset: Subtracted first.
        scale: A standard deviation, above 0.
        clip: Above 0; None: nothing is clipped.
    """
    shaped = (scores - offset) / scale
    return shaped if clip is None else shaped.clamp(-clip, clip)


def charge_missing_eos(
    token_scores: Float[Tensor, "B R"],
    ended: Bool[Tensor, " B"],
    response_mask: Bool[Tensor, "B R"],
    penalty: float,
) -> Float[Tensor, "B R"]:
    """Returns the token scores with the penalty taken off the last token of unended responses.

    After spreading, and outside the rule that a row sums to its score: it is no part of the score.
    (TRL takes the same off the score; Huang et al. 2024, arXiv 2403.17031, put -1 in its place.)

    Args:
        token_scores: [B, R], the score after densification.
        ended: [B], True where the response ends in EOS.
        response_mask: [B, R], True = this response token counts.
        penalty: Reward units, 0 or more.
    """
    rank = response_mask.cumsum(-1)
    last = response_mask & (rank == rank[:, -1:])
    return torch.where(last & ~ended[:, None], token_scores - penalty, token_scores)
