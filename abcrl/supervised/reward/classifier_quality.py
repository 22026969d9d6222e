"""The measurements on held-out texts that end `abcrl train-rm` with a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.analysis.quality.naive_bayes import NaiveBayes, fit_naive_bayes
from abcrl.analysis.quality.reward_quality import (
    RewardModelQuality,
    accuracy,
    calibration_error,
    length_correlation,
    nll,
)
from abcrl.data import Example
from abcrl.models import RewardModel

from .rows import ReadRow, score_rows


@dataclass(frozen=True)
class HeldOutTexts:
    """Texts that a classifier is judged by.

    Attributes:
        complete: As far as the model reads them.
        truncated: Ids of the same ones, cut to lengths that PPO produces.
        labels: True = positive.
        cut_to: Tokens that complete texts had to be cut to; None where all of them fit.
    """

    complete: Sequence[ReadRow]
    truncated: Sequence[list[int]]
    labels: Bool[Tensor, " N"]
    cut_to: int | None


def fit_bag_of_words(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[list[int]], examples: Sequence[Example]
) -> NaiveBayes:
    """Returns naive Bayes on all texts to train on, as far as the reward model would read them.

    All, though the reward model may stop before it has seen them all (`training.max_steps`). Not
    on the truncations among them: those teach the reward model to score such texts, to a bag of
    words they would only be less data.
    """
    return fit_naive_bayes(
        (_visible_text(tokenizer, ids) for ids in texts),
        (example.label == 1 for example in examples),
    )


def measure_quality(
    reward_model: RewardModel,
    bag: NaiveBayes,
    tokenizer: PreTrainedTokenizerBase,
    heldout: HeldOutTexts,
) -> RewardModelQuality:
    """Returns accuracy (beside the bag's) and calibration at both lengths, without credit."""
    complete, truncated, labels = heldout.complete, heldout.truncated, heldout.labels
    whole = [row.ids for row in complete]
    scores, _ = score_rows(reward_model, whole)
    # P(positive) knows no offset.
    logits = scores + reward_model.offset
    logits_truncated = score_rows(reward_model, truncated)[0] + reward_model.offset
    lengths = torch.tensor([len(row.places) for row in complete])
    correlation = length_correlation(scores, lengths)
    return RewardModelQuality(
        accuracy=accuracy(logits, labels),
        accuracy_truncated=accuracy(logits_truncated, labels),
        naive_bayes_accuracy=accuracy(_log_odds(bag, tokenizer, whole), labels),
        naive_bayes_accuracy_truncated=accuracy(_log_odds(bag, tokenizer, truncated), labels),
        calibration_error=calibration_error(logits, labels),
        calibration_error_truncated=calibration_error(logits_truncated, labels),
        nll=nll(logits, labels),
        nll_truncated=nll(logits_truncated, labels),
        cut_to=heldout.cut_to,
        score_mean=float(scores.mean()),
        score_std=float(scores.std()) if len(scores) > 1 else 0.0,
        length_pearson=correlation.pearson,
        length_spearman=correlation.spearman,
    )


def _log_odds(
    bag: NaiveBayes, tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]]
) -> Tensor:
    odds = [bag.log_odds(_visible_text(tokenizer, ids)) for ids in rows]
    return torch.tensor(odds, dtype=torch.float64)


def _visible_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Returns the text that ids stand for; BOS and EOS are no words."""
    return str(tokenizer.decode(ids, skip_special_tokens=True))
