"""Held-out evaluation: fixed prompts, a random stream of its own, the same draws every time."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from abcrl.config import PpoSettings
from abcrl.data import Prompt
from abcrl.densification import Evidence, needs

from .masked import masked_row_sums
from .responses import Responses
from .rollout import Actors, evaluate_tokens, score_responses, spread_scores
from .sampling import SharedDraws, sample_responses


@dataclass(frozen=True)
class Evaluator:
    """Evaluates a policy on held-out prompts.

    Attributes:
        prompts: Held-out prompts, the same at every evaluation and in every arm.
        draws: Their random numbers.
        settings: The run's settings.
        score_offset: Subtracted from the score before it is spread, in samples only.
        decode: Token ids to text, without special tokens.
        gold_score: The true score of a text, where the data know one.
    """

    prompts: Sequence[Prompt]
    draws: SharedDraws
    settings: PpoSettings
    score_offset: float
    decode: Callable[[list[int]], str]
    gold_score: Callable[[str], float] | None

    def evaluate(self, actors: Actors) -> tuple[dict[str, float], list[dict[str, object]]]:
        """Returns the metrics of the policy, and some of its responses with their credit.

        `eval/score` is the reward model's score as it gives it; `eval/kl_exact` is the
        full-vocabulary KL to the reference summed over a response, nats; both are means over the
        prompts, `_se` their standard errors.
        """
        wanted = needs(self.settings.reward.mode) if self.settings.evaluation.samples else ()
        responses = sample_responses(
            actors.policy.model,
            self.prompts,
            self.draws,
            self.settings.response,
            eos_token_id=actors.eos_token_id,
        )
        scores, reward_attention = score_responses(
            actors.reward_model, responses, with_attention="reward_attention" in wanted
        )
        tokens = evaluate_tokens(
            actors,
            responses,
            self.settings.response,
            with_attention="policy_attention" in wanted,
        )
        texts = [self._text(responses, row) for row in range(len(self.prompts))]
        kl = masked_row_sums(tokens.kl_exact, responses.response_mask)
        metrics = {
            **_mean_and_error("eval/score", scores.tolist()),
            "eval/kl_exact": float(kl.mean()),
            "eval/length": float(responses.lengths.float().mean()),
            "eval/eos_rate": float(responses.ended(actors.eos_token_id).float().mean()),
            "eval/distinct_2": distinct_2(responses),
        }
        if self.gold_score is not None:
            gold = [self.gold_score(text) for text in texts]
            metrics |= _mean_and_error("eval/gold_score", gold)
        evidence = Evidence(responses.response_mask, reward_attention, tokens.policy_attention)
        return metrics, self._samples(responses, texts, scores, evidence)

    def _text(self, responses: Responses, row: int) -> str:
        prompt, response = responses.ids_of(row)
        return self.decode(prompt + response)

    def _samples(
        self, responses: Responses, texts: list[str], scores: Tensor, evidence: Evidence
    ) -> list[dict[str, object]]:
        """Returns the first few responses as rows of samples.jsonl."""
        count = min(self.settings.evaluation.samples, len(texts))
        if not count:
            return []
        credit, token_scores = spread_scores(
            scores - self.score_offset, evidence, self.settings.reward
        )
        rows = []
        for row in range(count):
            prompt, response = responses.ids_of(row)
            mask = responses.response_mask[row]
            sample = {
                "prompt_index": self.prompts[row].index,
                "prompt": self.decode(prompt),
                "response": self.decode(response),
                "prompt_ids": prompt,
                "response_ids": response,
                "score": float(scores[row]),
                "credit": credit.weights[row][mask].tolist(),
                "token_scores": token_scores[row][mask].tolist(),
            }
            if self.gold_score is not None:
                sample["gold_score"] = self.gold_score(texts[row])
            rows.append(sample)
        return rows


def distinct_2(responses: Responses) -> float:
    """Returns the share of different pairs among all pairs of neighbouring response tokens.

    Li et al. 2016, arXiv 1510.03055, over all responses together. Near 0: the policy repeats
    itself. 0 where no response has two tokens.
    """
    pairs = [
        pair
        for row in range(len(responses.sequences))
        for ids in [responses.ids_of(row)[1]]
        for pair in itertools.pairwise(ids)
    ]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _mean_and_error(name: str, values: Sequence[float]) -> dict[str, float]:
    """Returns mean and standard error of the mean over the prompts."""
    tensor = torch.tensor(values, dtype=torch.float64)
    return {
        name: float(tensor.mean()),
        f"{name}_se": float(tensor.std() / len(values) ** 0.5),
    }
