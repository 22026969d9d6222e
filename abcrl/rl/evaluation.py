"""Held-out evaluation: fixed prompts, a random stream of its own, the same draws every time."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.densification import needs

from .actors import Actors
from .calibration import Calibration
from .evidence import gather_evidence, spread_scores
from .masked import masked_row_sums
from .rollout import evaluate_tokens
from .sampling import SharedDraws, sample_responses

Sample = dict[str, object]


@dataclass(frozen=True)
class EvaluatedResponse:
    """One held-out response; `credit` and `token_scores` only where samples were asked for."""

    prompt: Prompt
    response_ids: list[int]
    score: float
    kl: float
    """Exact KL to the reference, nats, summed over the response."""
    ended: bool
    """True when the response ends in EOS."""
    credit: list[float]
    token_scores: list[float]
    shaped_score: float
    """What the token scores sum to."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluates a policy on held-out prompts.

    Attributes:
        prompts: Held-out prompts, the same at every evaluation and in every arm.
        draws: Their random numbers.
        settings: The run's settings.
        calibration: What SFT responses said; used in samples only.
        decode: Token ids to text, without special tokens.
        gold_score: The true score of a text, where the data know one.
    """

    prompts: Sequence[Prompt]
    draws: SharedDraws
    settings: PpoSettings
    calibration: Calibration
    decode: Callable[[list[int]], str]
    gold_score: Callable[[str], float] | None

    def evaluate(self, actors: Actors) -> tuple[dict[str, float], list[Sample]]:
        """Returns the metrics of the policy, and some of its responses with their credit.

        `eval/score` is the reward model's score as it gives it; `eval/kl_exact` is the
        full-vocabulary KL to the reference summed over a response, nats; both are means over the
        prompts, `_se` their standard errors.
        """
        size, samples = self.settings.evaluation.batch_size, self.settings.evaluation.samples
        rows: list[EvaluatedResponse] = []
        for start in range(0, len(self.prompts), size):
            batch = self.prompts[start : start + size]
            rows += self._evaluate_batch(actors, batch, with_credit=start < samples)
        metrics = {
            **_mean_and_error("eval/score", [row.score for row in rows]),
            "eval/kl_exact": fmean(row.kl for row in rows),
            "eval/length": fmean(len(row.response_ids) for row in rows),
            "eval/eos_rate": fmean(row.ended for row in rows),
            "eval/distinct_2": distinct_2([row.response_ids for row in rows]),
        }
        if self.gold_score is not None:
            gold = [self.gold_score(self._text(row)) for row in rows]
            metrics |= _mean_and_error("eval/gold_score", gold)
        return metrics, [self._sample(row) for row in rows[:samples]]

    def _evaluate_batch(
        self, actors: Actors, prompts: Sequence[Prompt], *, with_credit: bool
    ) -> list[EvaluatedResponse]:
        wanted = needs(self.settings.reward.mode) if with_credit else frozenset()
        responses = sample_responses(
            actors.policy.model,
            prompts,
            self.draws,
            self.settings.response,
            eos_token_id=actors.eos_token_id,
        )
        scored = actors.scorer.score(responses, wanted)
        tokens = evaluate_tokens(
            actors, responses, self.settings, with_attention="policy_attention" in wanted
        )
        mask, scores = responses.response_mask, scored.scores
        shaped = self.calibration.shape(scores)
        credit = token_scores = scores.new_zeros(mask.shape)
        if with_credit:
            evidence = gather_evidence(
                responses,
                scored,
                tokens.policy_attention,
                prompts=prompts,
                draws=self.draws,
                reference=self.calibration.reference,
            )
            (credit, _), token_scores = spread_scores(shaped, evidence, self.settings.reward)
        kl = masked_row_sums(tokens.kl_exact, mask).tolist()
        ended = responses.ended(actors.eos_token_id).tolist()
        return [
            EvaluatedResponse(
                prompt=prompt,
                response_ids=responses.ids_of(row)[1],
                score=float(scores[row]),
                kl=kl[row],
                ended=ended[row],
                credit=credit[row][mask[row]].tolist(),
                token_scores=token_scores[row][mask[row]].tolist(),
                shaped_score=float(shaped[row]),
            )
            for row, prompt in enumerate(prompts)
        ]

    def _text(self, row: EvaluatedResponse) -> str:
        return self.decode([*row.prompt.ids, *row.response_ids])

    def _sample(self, row: EvaluatedResponse) -> Sample:
        """Returns a row of samples.jsonl.

        Its token scores sum to score - score_offset or, where scores are scaled or clipped, to
        shaped_score.
        """
        sample: Sample = {
            "prompt_index": row.prompt.index,
            "prompt": self.decode(list(row.prompt.ids)),
            "response": self.decode(row.response_ids),
            "prompt_ids": list(row.prompt.ids),
            "response_ids": row.response_ids,
            "score": row.score,
            "score_offset": self.calibration.score_offset,
            "credit": row.credit,
            "token_scores": row.token_scores,
        }
        if not self.calibration.changes_only_the_offset:
            sample["shaped_score"] = row.shaped_score
        if self.gold_score is not None:
            sample["gold_score"] = self.gold_score(self._text(row))
        return sample


def distinct_2(responses: Sequence[Sequence[int]]) -> float:
    """Returns the share of different pairs among all pairs of neighbouring response tokens.

    Li et al. 2016, arXiv 1510.03055, over all responses together. Near 0: the policy repeats
    itself. 0 where no response has two tokens.
    """
    pairs = [pair for ids in responses for pair in itertools.pairwise(ids)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _mean_and_error(name: str, values: Sequence[float]) -> dict[str, float]:
    """Returns mean and standard error of the mean over the prompts."""
    return {name: fmean(values), f"{name}_se": stdev(values) / len(values) ** 0.5}
