"""Responses to held-out prompts, and what they say of a policy, one or several to a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from abcrl.data import Prompt

from .diversity import distinct_n, repetition_n

_REPETITION = 4
"""Tokens of the n-grams that repetition is about, as in Welleck et al. 2020."""


@dataclass(frozen=True)
class EvaluatedResponse:
    """One held-out response; `credit` and `token_scores` only where samples were asked for."""

    prompt: Prompt
    response_ids: list[int]
    score: float
    kl: float | None
    """Exact KL to the reference, nats, summed over the response; None without a reference."""
    ended: bool
    """True when the response ends in EOS."""
    gold_score: float | None
    """True score of prompt and response, where the data know one."""
    credit: list[float]
    token_scores: list[float]
    shaped_score: float
    """What the token scores sum to."""

    @property
    def length(self) -> int:
        """Response tokens, EOS included."""
        return len(self.response_ids)


@dataclass(frozen=True)
class PromptMean:
    """A mean over held-out prompts, of what is itself a mean over the responses to each."""

    mean: float
    standard_error: float
    """s / sqrt(n) over the n prompts: responses to one prompt are not independent."""


@dataclass(frozen=True)
class ResponseSummary:
    """What the responses to held-out prompts say of a policy."""

    score: PromptMean
    """As the reward model gives it."""
    kl_exact: PromptMean | None
    """Full-vocabulary KL to the reference, nats per response; None without a reference."""
    length: PromptMean
    """Response tokens, EOS included."""
    eos_rate: PromptMean
    """Share of the responses that end in EOS."""
    distinct_1: float
    """`distinct_n` over all responses; comparable only between equal numbers of them."""
    distinct_2: float
    distinct_3: float
    repetition: PromptMean
    """`repetition_n` of the responses, n = 4."""
    gold_score: PromptMean | None
    """None where the data know none."""

    def metrics(self) -> dict[str, float]:
        """Returns what a PPO run writes of it; `_se` are standard errors over the prompts."""
        named = {"eval/score": self.score.mean, "eval/score_se": self.score.standard_error}
        if self.kl_exact is not None:
            named["eval/kl_exact"] = self.kl_exact.mean
        named |= {
            "eval/length": self.length.mean,
            "eval/eos_rate": self.eos_rate.mean,
            "eval/distinct_2": self.distinct_2,
            "eval/repetition": self.repetition.mean,
        }
        if self.gold_score is not None:
            named["eval/gold_score"] = self.gold_score.mean
            named["eval/gold_score_se"] = self.gold_score.standard_error
        return named


def summarise_responses(prompts: Sequence[Sequence[EvaluatedResponse]]) -> ResponseSummary:
    """Returns what responses to at least two prompts say of the policy.

    Args:
        prompts: The responses to each prompt, of every prompt as many.
    """
    rows = [row for responses in prompts for row in responses]
    ids = [row.response_ids for row in rows]
    kl, gold = ([getattr(row, name) for row in rows] for name in ("kl", "gold_score"))
    each = len(prompts[0])
    return ResponseSummary(
        score=_over_prompts([row.score for row in rows], each),
        kl_exact=None if None in kl else _over_prompts(kl, each),
        length=_over_prompts([float(row.length) for row in rows], each),
        eos_rate=_over_prompts([float(row.ended) for row in rows], each),
        distinct_1=distinct_n(ids, 1),
        distinct_2=distinct_n(ids, 2),
        distinct_3=distinct_n(ids, 3),
        repetition=_over_prompts([repetition_n(response, _REPETITION) for response in ids], each),
        gold_score=None if None in gold else _over_prompts(gold, each),
    )


def _over_prompts(values: Sequence[float], each: int) -> PromptMean:
    """Returns the mean of values of which `each` in a row belong to one prompt."""
    means = [fmean(values[start : start + each]) for start in range(0, len(values), each)]
    return PromptMean(fmean(means), stdev(means) / len(means) ** 0.5)
