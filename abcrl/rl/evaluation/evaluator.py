"""Held-out evaluation: fixed prompts, a random stream of its own, the same draws every time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.densification import needs
from abcrl.rl.actors import Actors
from abcrl.rl.formulas.masked import masked_row_sums
from abcrl.rl.sampling.sampler import SharedDraws, sample_responses
from abcrl.rl.scoring.calibration import Calibration
from abcrl.rl.scoring.evidence import gather_evidence, spread_scores
from abcrl.rl.token_statistics import evaluate_tokens

from .evaluated import EvaluatedResponse, summarise_responses

Sample = dict[str, object]


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
        with_kl: Whether the actors' reference is one, and not only the policy itself.
    """

    prompts: Sequence[Prompt]
    draws: SharedDraws
    settings: PpoSettings
    calibration: Calibration
    decode: Callable[[list[int]], str]
    gold_score: Callable[[str], float] | None
    with_kl: bool = True

    def evaluate(self, actors: Actors) -> tuple[dict[str, float], list[Sample]]:
        """Returns the metrics of the policy, and some of its responses with their credit.

        `eval/score` is the reward model's score as it gives it; `eval/kl_exact` is the
        full-vocabulary KL to the reference summed over a response, nats; both are means over the
        prompts, `_se` their standard errors.
        """
        rows = [row for batch in self.respond(actors) for row in batch]
        metrics = summarise_responses([[row] for row in rows]).metrics()
        return metrics, [self._sample(row) for row in rows[: self.settings.evaluation.samples]]

    def respond(self, actors: Actors) -> Iterator[list[EvaluatedResponse]]:
        """Yields one response to each prompt, a batch at a time, in the order of the prompts."""
        size, samples = self.settings.evaluation.batch_size, self.settings.evaluation.samples
        for start in range(0, len(self.prompts), size):
            batch = self.prompts[start : start + size]
            yield self._evaluate_batch(actors, batch, with_credit=start < samples)

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
                kl=kl[row] if self.with_kl else None,
                ended=ended[row],
                gold_score=self._gold_score(prompt, responses.ids_of(row)[1]),
                credit=credit[row][mask[row]].tolist(),
                token_scores=token_scores[row][mask[row]].tolist(),
                shaped_score=float(shaped[row]),
            )
            for row, prompt in enumerate(prompts)
        ]

    def _gold_score(self, prompt: Prompt, response_ids: list[int]) -> float | None:
        if self.gold_score is None:
            return None
        return self.gold_score(self.decode([*prompt.ids, *response_ids]))

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
        if row.gold_score is not None:
            sample["gold_score"] = row.gold_score
        return sample
