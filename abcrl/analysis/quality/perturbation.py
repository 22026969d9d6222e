"""Texts with tokens taken out, and what a callable says that they score; knows no model."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Float64
from torch import Tensor

Score = Callable[[list[list[int]]], Float[Tensor, " N"]]
"""From token ids of N texts, without padding, to their scores."""

Floats = npt.NDArray[np.float64]


class Curves(NamedTuple):
    """What taking tokens out and putting them in does to a score, at fractions 0, 1/S, ..., 1.

    In score units, in the direction of the response's effect. Both begin at 0 and end at |effect|,
    and are the higher the earlier the tokens that matter come; between, where tokens work against
    each other, they may leave that range. Between whole numbers of tokens, interpolated.
    """

    deletion: tuple[float, ...]
    """Fall of the score without the first tokens of the order."""
    insertion: tuple[float, ...]
    """Rise of the score from the prompt alone with only the first tokens of the order."""
    deletion_area: float
    """Area below, over fractions 0 to 1: a mean over the curve, in score units."""
    insertion_area: float


def leave_one_out_drops(
    score: Score, prompt_ids: Sequence[int], response_ids: Sequence[int]
) -> Float64[Tensor, " R"]:
    """Returns what the score loses without each token alone.

    drop[j] = score(prompt, response) - score(prompt, response without token j)

    Li, Monroe and Jurafsky, "Understanding neural networks through representation erasure", 2016,
    arXiv 1612.08220; they erase a word's embedding, here the token is gone and the text closes up.

    Args:
        score: From texts to scores; called once.
        prompt_ids: At least one token, so that there is a score without any response token.
        response_ids: R >= 1 tokens.

    Returns:
        In score units, either sign.

    Raises:
        ValueError: Prompt or response without a token; scores of a wrong shape or not finite.
    """
    prompt, response = require_ids(prompt_ids, response_ids)
    without = [prompt + response[:j] + response[j + 1 :] for j in range(len(response))]
    scores = scores_of(score, [prompt + response, *without])
    return torch.from_numpy(scores[0] - scores[1:])


def follow_orders(
    score: Score,
    texts: tuple[list[int], list[int]],
    ends: tuple[float, float],
    orders: Sequence[npt.NDArray[np.intp]],
    *,
    steps: int,
) -> list[Curves]:
    """Returns the curves of each order, all scored in one call.

    Whatever the order, kept tokens stay in that of the response. Step s takes s R / steps tokens,
    rounded; a response of fewer tokens than steps takes them one by one.

    Args:
        score: From texts to scores.
        texts: Prompt and response.
        ends: Score of both, and of the prompt alone.
        orders: Permutations of the response's places, first one first.
        steps: Number of steps.

    Raises:
        ValueError: Scores of a wrong shape or not finite.
    """
    prompt, response = texts
    full, empty = ends
    # A number of tokens that several steps round to is asked for once; the two ends are known.
    counts = np.unique(np.rint(np.linspace(0, 1, steps + 1) * len(response)).astype(int))
    inner = counts[1:-1]
    asked = []
    for order in orders:
        for kept in [order[count:] for count in inner] + [order[:count] for count in inner]:
            asked.append(prompt + [response[place] for place in sorted(kept)])
    scores = scores_of(score, asked).reshape(len(orders), 2, len(inner))
    direction = np.sign(full - empty)
    fractions, grid = counts / len(response), np.linspace(0, 1, steps + 1)
    curves = []
    for without, only in scores:
        falls = direction * (full - np.array([full, *without, empty]))
        rises = direction * (np.array([empty, *only, full]) - empty)
        curves.append(
            Curves(
                deletion=tuple(np.interp(grid, fractions, falls).tolist()),
                insertion=tuple(np.interp(grid, fractions, rises).tolist()),
                deletion_area=float(np.trapezoid(falls, fractions)),
                insertion_area=float(np.trapezoid(rises, fractions)),
            )
        )
    return curves


def mean_curves(curves: Sequence[Curves]) -> Curves:
    """Returns the mean of curves, point by point; they must have the same number of steps."""
    deletion, insertion, deletion_area, insertion_area = zip(*curves, strict=True)
    return Curves(
        deletion=tuple(map(fmean, zip(*deletion, strict=True))),
        insertion=tuple(map(fmean, zip(*insertion, strict=True))),
        deletion_area=fmean(deletion_area),
        insertion_area=fmean(insertion_area),
    )


def scores_of(score: Score, texts: list[list[int]]) -> Floats:
    """Returns the scores of texts; without a text, asks nothing.

    Raises:
        ValueError: Scores of a wrong shape or not finite.
    """
    if not texts:
        return np.empty(0)
    scores = to_numpy(score(texts))
    if scores.shape != (len(texts),) or not np.isfinite(scores).all():
        shown = list(scores.shape) if scores.shape != (len(texts),) else "one that is not finite"
        raise ValueError(f"score must return {len(texts)} finite numbers, received {shown}")
    return scores


def to_numpy(values: Tensor) -> Floats:
    """Returns a tensor of any device and float dtype as numbers to calculate with."""
    return values.detach().double().cpu().numpy()


def require_ids(
    prompt_ids: Sequence[int], response_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Returns both as lists.

    Raises:
        ValueError: One of them has no token.
    """
    for name, ids in (("prompt_ids", prompt_ids), ("response_ids", response_ids)):
        if not len(ids):
            raise ValueError(
                f"{name} must hold at least one token, received none; a prompt may be BOS, or the "
                f"first tokens of the text"
            )
    return list(prompt_ids), list(response_ids)
