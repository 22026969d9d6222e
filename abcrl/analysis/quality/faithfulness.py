"""Faithfulness: does the credit lie on the tokens that move the score? Knows no model.

Tokens are taken out of a response, and put back, and a callable says what the text then scores. A
text with holes is not what a reward model was trained on (Hooker et al., "A benchmark for
interpretability methods in deep neural networks", NeurIPS 2019, arXiv 1806.10758); random orders
make holes of the same size, so what is reported of a curve is its distance from theirs.

    probe = probe_response(score, prompt_ids, response_ids)  # once for each response
    result = judge_credit(score, probe, weights, signed=False)  # once for each way to spread
    summary = summarise_faithfulness(results)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats
from torch import Tensor

from abcrl.analysis.statistics import standard_error
from abcrl.config import stream_seed

from .perturbation import (
    Curves,
    Floats,
    Score,
    follow_orders,
    leave_one_out_drops,
    mean_curves,
    require_ids,
    scores_of,
    to_numpy,
)


@dataclass(frozen=True)
class Probe:
    """What is asked of the score once for a response, whatever credit is then held against it."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    full_score: float
    """Of the prompt with the response."""
    prompt_score: float
    """Of the prompt alone."""
    drops: Float64[Tensor, " R"]
    random: Curves
    """Mean over random orders."""
    seed: int

    @property
    def effect(self) -> float:
        """What the response changes of the score; its sign is the direction of the curves."""
        return self.full_score - self.prompt_score

    @property
    def steps(self) -> int:
        """Number of steps of a curve."""
        return len(self.random.deletion) - 1


@dataclass(frozen=True)
class Faithfulness:
    """How faithful one way to spread a score is on one response."""

    correlation: float | None
    """Rank correlation with the leave-one-out drops; None where one of them is constant."""
    deletion: float
    """Deletion area less that of random orders, in score units; above 0 is better than random."""
    insertion: float
    """Insertion area less that of random orders, in score units."""
    effect: float
    """|effect| of the response, which the curves end at."""
    curves: Curves
    random: Curves


@dataclass(frozen=True)
class Estimate:
    """A mean over responses."""

    mean: float | None
    """None without a value."""
    standard_error: float | None
    """Over responses, s / sqrt(n); None below two values."""
    n: int


@dataclass(frozen=True)
class FaithfulnessSummary:
    """How faithful one way to spread a score is on many responses."""

    responses: int
    correlation: Estimate
    without_rank: int
    """Responses that have no correlation: one token only, or constant credit or drops."""
    effect: Estimate
    """|effect|, in score units."""
    deletion: Estimate
    """Area less random, in score units."""
    insertion: Estimate
    deletion_share: Estimate
    """Mean deletion over mean |effect|: the same without units; mean None if there is no effect."""
    insertion_share: Estimate
    curves: Curves
    """Mean over the responses."""
    random: Curves


def rank_correlation(
    parts: Float[Tensor, " R"], drops: Float[Tensor, " R"], *, signed: bool
) -> float | None:
    """Returns Spearman's correlation of the tokens' parts with their leave-one-out drops.

    Pearson's correlation of the ranks, ties at their average rank; Spearman, "The proof and
    measurement of association between two things", American Journal of Psychology 15, 1904. Jain
    and Wallace, "Attention is not explanation", NAACL 2019, arXiv 1902.10186, hold attention
    against leave-one-out by Kendall's tau, which counts pairs of tokens instead.

    Args:
        parts: What each token is credited with.
        drops: Of `leave_one_out_drops`.
        signed: False for weights, which say how much a token matters and not in which direction:
            they are held against |drop|. True for a spread of either sign: against the drop itself.

    Returns:
        -1 to 1; None for fewer than two tokens and where parts or drops are constant.

    Raises:
        ValueError: Parts of another shape than the drops, not finite, or negative without `signed`.
    """
    values = _require_parts(parts, len(drops), signed=signed)
    ranks = [stats.rankdata(each) for each in (values, to_numpy(drops if signed else drops.abs()))]
    if any(np.all(each == each[0]) for each in ranks):
        return None
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


def probe_response(
    score: Score,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    *,
    steps: int = 10,
    random_orders: int = 5,
    seed: int = 0,
) -> Probe:
    """Returns what holds for a response whatever the credit: its effect, its drops, random curves.

    Asks for about R + 2 * steps * random_orders scores. Random orders follow from the seed and the
    ids, so that a response's probe does not depend on what else is measured.

    Args:
        score: From texts to scores.
        prompt_ids: At least one token; BOS will do.
        response_ids: R >= 1 tokens.
        steps: Steps of a curve; a response of fewer tokens takes one token a step.
        random_orders: How many to average; at least 1.
        seed: Of the random orders, and of the order among tokens of equal credit.

    Raises:
        ValueError: Prompt or response without a token; steps or random_orders below 1; scores of a
            wrong shape or not finite.
    """
    for name, value in (("steps", steps), ("random_orders", random_orders)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, received {value}")
    prompt, response = require_ids(prompt_ids, response_ids)
    full, empty = scores_of(score, [prompt + response, prompt])
    generator = _generator(seed, "random-orders", prompt, response)
    orders = [generator.permutation(len(response)) for _ in range(random_orders)]
    return Probe(
        prompt_ids=tuple(prompt),
        response_ids=tuple(response),
        full_score=float(full),
        prompt_score=float(empty),
        drops=leave_one_out_drops(score, prompt, response),
        random=mean_curves(
            follow_orders(score, (prompt, response), (full, empty), orders, steps=steps)
        ),
        seed=seed,
    )


def judge_credit(
    score: Score, probe: Probe, parts: Float[Tensor, " R"], *, signed: bool
) -> Faithfulness:
    """Returns how faithful a response's credit is to the score.

    Deletion and insertion curves (Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421)
    in the order of falling credit, against random orders (Samek et al., "Evaluating the
    visualization of what a deep neural network has learned", IEEE TNNLS 28, 2017, arXiv
    1509.06321). Tokens are gone where Petsiuk blurs pixels; insertion begins with the prompt.
    Deletion at one fraction is the comprehensiveness of DeYoung et al., "ERASER", ACL 2020, arXiv
    1911.03429, and insertion is |effect| less its sufficiency; kept tokens stay in their order.

    Deviations: they follow the probability of the predicted class; a score may have any sign and
    scale, so changes count in the direction of the response's own effect. They are not divided by
    it: a small effect would make any change large. A response without effect has no direction, and
    areas of 0.

    Args:
        score: The one that the probe was made with; asked for 2 * (steps - 1) scores at most.
        probe: Of the response.
        parts: What each token is credited with, in any unit.
        signed: False for weights, >= 0: falling weight. True for a spread of either sign: the parts
            that work in the direction of the effect come first. Tokens of equal credit come in
            random order, so uniform credit does as random orders do, up to chance.

    Raises:
        ValueError: Parts of a wrong shape, not finite, or negative without `signed`; scores of a
            wrong shape or not finite.
    """
    values = _require_parts(parts, len(probe.response_ids), signed=signed)
    texts = list(probe.prompt_ids), list(probe.response_ids)
    ties = _generator(probe.seed, "ties", *texts).permutation(len(values))
    rank = values * np.sign(probe.effect) if signed else values
    order = np.lexsort((ties, -rank))
    ends = probe.full_score, probe.prompt_score
    [curves] = follow_orders(score, texts, ends, [order], steps=probe.steps)
    return Faithfulness(
        correlation=rank_correlation(parts, probe.drops, signed=signed),
        deletion=curves.deletion_area - probe.random.deletion_area,
        insertion=curves.insertion_area - probe.random.insertion_area,
        effect=abs(probe.effect),
        curves=curves,
        random=probe.random,
    )


def summarise_faithfulness(results: Sequence[Faithfulness]) -> FaithfulnessSummary:
    """Returns means over responses, each response counting once.

    Standard errors take the responses for independent; several of one prompt are less than that.

    Raises:
        ValueError: No result, or curves of different numbers of steps.
    """
    if not results:
        raise ValueError("results must hold at least one response, received none")
    correlations = [one.correlation for one in results if one.correlation is not None]
    effects = [one.effect for one in results]
    deletions = [one.deletion for one in results]
    insertions = [one.insertion for one in results]
    return FaithfulnessSummary(
        responses=len(results),
        correlation=_estimate(correlations),
        without_rank=len(results) - len(correlations),
        effect=_estimate(effects),
        deletion=_estimate(deletions),
        insertion=_estimate(insertions),
        deletion_share=_ratio(deletions, effects),
        insertion_share=_ratio(insertions, effects),
        curves=mean_curves([one.curves for one in results]),
        random=mean_curves([one.random for one in results]),
    )


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(fmean(values) if values else None, standard_error(values), len(values))


def _ratio(values: Sequence[float], sizes: Sequence[float]) -> Estimate:
    """Returns mean value over mean size, with its linearised standard error.

    sqrt(sum_i (v_i - r s_i)^2 / (n (n - 1))) / mean size; Cochran, "Sampling Techniques", 1977,
    chapter 6.
    """
    size = fmean(sizes)
    if size == 0:
        return Estimate(None, None, len(values))
    ratio = fmean(values) / size
    residuals = [(v - ratio * s) / size for v, s in zip(values, sizes, strict=True)]
    return Estimate(ratio, standard_error(residuals), len(values))


def _generator(
    seed: int, stream: str, prompt: Sequence[int], response: Sequence[int]
) -> np.random.Generator:
    return np.random.default_rng(stream_seed(seed, stream, len(prompt), *prompt, *response))


def _require_parts(parts: Tensor, length: int, *, signed: bool) -> Floats:
    values = to_numpy(parts)
    if values.shape != (length,):
        raise ValueError(f"parts must have shape [{length}], received {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError("parts must be finite, received one that is not")
    if not signed and (values < 0).any():
        raise ValueError(
            f"parts must be >= 0, received {values.min():g}; a spread of either sign is signed=True"
        )
    return values
