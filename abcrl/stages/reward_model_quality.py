"""The measurements on held-out texts that end `abcrl train-rm`."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.analysis.credit_spread import CreditSpread, credit_spread
from abcrl.analysis.naive_bayes import NaiveBayes, fit_naive_bayes
from abcrl.analysis.reward_quality import (
    RewardModelQuality,
    accuracy,
    calibration_error,
    nll,
)
from abcrl.config import TrainRmConfig
from abcrl.data import Corpus, Example, truncation_length
from abcrl.densification import Evidence, assign_credit
from abcrl.models import CaptureError, RewardModel, bos_prefix, punctuation_ids, tokens_in_spans
from abcrl.reporter import Reporter

from .supervised import ReadableTexts

# Held-out texts that the accuracy is measured on.
_HELD_OUT = 1024
_BATCH = 64


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
    corpus: Corpus,
    config: TrainRmConfig,
    reporter: Reporter,
) -> RewardModelQuality:
    """Returns accuracy (beside the bag's) and calibration at both lengths, and how credit spreads.

    Where the model's attention cannot be captured, the reporter is told and there is no credit.
    """
    credit = None
    try:
        credit = _measure_credit(reward_model, tokenizer, corpus, config)
    except CaptureError as error:  # reward modes that need no attention can still use it
        reporter.message(f"credit is not reported: {error}")
    heldout = corpus.sample_validation(_HELD_OUT)
    labels = torch.tensor([example.label for example in heldout]) == 1
    limit = config.training.max_length
    complete = list(ReadableTexts(heldout, tokenizer, limit))
    truncated = _truncate(complete, config)
    scores, _ = _score(reward_model, *_pad(complete), with_attention=False)
    scores_truncated, _ = _score(reward_model, *_pad(truncated), with_attention=False)
    all_fit = all(ids[-1] == tokenizer.eos_token_id for ids in complete)
    return RewardModelQuality(
        accuracy=accuracy(scores, labels),
        accuracy_truncated=accuracy(scores_truncated, labels),
        naive_bayes_accuracy=accuracy(_log_odds(bag, tokenizer, complete), labels),
        naive_bayes_accuracy_truncated=accuracy(_log_odds(bag, tokenizer, truncated), labels),
        calibration_error=calibration_error(scores, labels),
        calibration_error_truncated=calibration_error(scores_truncated, labels),
        nll=nll(scores, labels),
        nll_truncated=nll(scores_truncated, labels),
        cut_to=None if all_fit else limit,
        score_mean=float(scores.mean()),
        score_std=float(scores.std()),
        credit=credit,
    )


def _truncate(rows: Sequence[list[int]], config: TrainRmConfig) -> list[list[int]]:
    """Returns each row cut to a length that PPO produces."""
    always = config.truncation.model_copy(update={"share": 1.0})
    return [
        ids[: truncation_length(always, seed=config.run.seed, index=index)]
        for index, ids in enumerate(rows)
    ]


def _log_odds(
    bag: NaiveBayes, tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]]
) -> Tensor:
    odds = [bag.log_odds(_visible_text(tokenizer, ids)) for ids in rows]
    return torch.tensor(odds, dtype=torch.float64)


def _visible_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Returns the text that ids stand for; BOS and EOS are no words."""
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def _measure_credit(
    reward_model: RewardModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    config: TrainRmConfig,
) -> CreditSpread | None:
    """Returns how ABC credit spreads over complete held-out texts, BOS left out."""
    examples = corpus.sample_validation(config.credit_texts)
    if not examples:
        return None
    prefix = len(bos_prefix(tokenizer))
    limit = config.training.max_length
    ids, mask = _pad(list(ReadableTexts(examples, tokenizer, limit)))
    _, attention = _score(reward_model, ids, mask, with_attention=True)
    assert attention is not None
    punctuation = torch.isin(ids, torch.tensor(punctuation_ids(tokenizer), dtype=torch.long)) & mask
    causal = None
    if corpus.causal_spans is not None:
        causal = torch.zeros(mask.shape, dtype=torch.bool)
        for row, example in enumerate(examples):
            spans = corpus.causal_spans(example.text)
            tokens = tokens_in_spans(tokenizer, example.text, spans)[: mask.shape[1] - prefix]
            causal[row, prefix : prefix + len(tokens)] = torch.tensor(tokens)
        causal = (causal & mask)[:, prefix:]
    mask = mask[:, prefix:]
    weights, _ = assign_credit("abc", Evidence(mask, reward_attention=attention[:, prefix:]))
    return credit_spread(weights, mask, punctuation=punctuation[:, prefix:], causal=causal)


def _pad(rows: Sequence[list[int]]) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """Returns ids, padded on the right, and which of them are real."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]


def _score(
    reward_model: RewardModel,
    ids: Int[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    *,
    with_attention: bool,
) -> tuple[Tensor, Tensor | None]:
    """Returns scores [N] and the scored position's attention [N, T], on the CPU."""
    scores, attention = [], []
    device = reward_model.model.device
    batches = zip(torch.split(ids, _BATCH), torch.split(mask, _BATCH), strict=True)
    for batch, batch_mask in batches:
        output = reward_model.score(
            batch.to(device), batch_mask.to(device), with_attention=with_attention
        )
        scores.append(output.scores.cpu())
        if output.attention is not None:
            attention.append(output.attention.cpu())
    return torch.cat(scores), torch.cat(attention) if attention else None
