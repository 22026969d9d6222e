"""The objective `classifier`: labelled texts, and two outputs whose difference is the score."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.analysis.quality.credit_spread import CreditSpread
from abcrl.analysis.quality.reward_quality import RewardModelQuality, nll
from abcrl.config import TrainRmConfig, TruncationConfig
from abcrl.data import Corpus, Example, read_corpus, truncation_length
from abcrl.models import RewardModel, tokens_in_spans
from abcrl.supervised.texts import (
    Features,
    PlainTexts,
    TextDataset,
    Texts,
    pad_right,
    readable_texts,
    tell_too_long,
)

from .classifier_quality import HeldOutTexts, fit_bag_of_words, measure_quality
from .rows import ReadRow, RowReader, score_rows, spaced, spread_of_credit

# Held-out texts that the accuracy is measured on.
_HELD_OUT = 1024


class Classification:
    """What a classifier is trained on and judged by; see `objectives.Objective`."""

    labels = ("negative", "positive")
    loss = None
    """The model's own: cross entropy of the two outputs."""

    @staticmethod
    def read(config: TrainRmConfig, tell: Callable[[str], None]) -> Corpus[Example]:
        """Returns the labelled texts.

        Raises:
            InputError: See `read_corpus`.
        """
        return read_corpus(config.data, tell, labelled=True)

    def __init__(
        self,
        config: TrainRmConfig,
        corpus: Corpus[Example],
        tokenizer: PreTrainedTokenizerBase,
        tell: Callable[[str], None],
    ) -> None:
        """Encodes the texts.

        Raises:
            InputError: A template cannot be used, or no text fits `training.max_length`.
        """
        self._config = config
        assert config.truncation is not None  # a classifier's configuration has one
        self._truncation = config.truncation
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._reader = RowReader(tokenizer, config)
        self._texts = self._encode(corpus.train)
        heldout = self._encode(corpus.sample_validation(_HELD_OUT))
        self._heldout = self._hold_out(heldout)
        self._credit_texts = corpus.sample_validation(config.credit_texts)
        limit = config.training.max_length
        tell_too_long(tell, self._texts, limit)
        tell_too_long(tell, heldout, limit, part="held-out data")

    @property
    def dataset(self) -> TextDataset:
        """Ids and label of each text."""
        return TextDataset(self._texts, self._features)

    @property
    def examples(self) -> Sequence[Example]:
        """What is trained on."""
        return self._texts.examples

    def collate(self, rows: Sequence[Features]) -> dict[str, Tensor]:
        """Returns a right-padded batch with its labels."""
        return pad_right(rows, pad_token_id=self._tokenizer.pad_token_id)

    def heldout_loss(self, model: PreTrainedModel) -> float:
        """Returns the mean negative log-likelihood of held-out labels, nats per text."""
        scores, _ = score_rows(RewardModel(model), [row.ids for row in self._heldout.complete])
        return nll(scores, self._heldout.labels)

    def good_rows(self, count: int) -> list[list[int]]:
        """Returns the ids of positive texts to train on."""
        positive = [number for number, one in enumerate(self.examples) if one.label == 1]
        return [self._texts[positive[at]].ids for at in spaced(count, len(positive))]

    def measure(self, reward_model: RewardModel) -> RewardModelQuality:
        """Returns accuracy (beside naive Bayes') and calibration on held-out texts."""
        rows = [self._texts[number].ids for number in range(len(self._texts))]
        bag = fit_bag_of_words(self._tokenizer, rows, self.examples)
        return measure_quality(reward_model, bag, self._tokenizer, self._heldout)

    def spread_of_credit(self, reward_model: RewardModel) -> CreditSpread:
        """Returns how ABC credit spreads over complete held-out texts, BOS and prompts left out.

        Raises:
            CaptureError: The model's attention cannot be captured.
        """
        texts = self._encode(self._credit_texts)
        rows = self._locate(texts)
        causal = None
        if self._corpus.causal_spans is not None:
            causal = [
                tokens_in_spans(self._tokenizer, one.text, self._corpus.causal_spans(one.text))
                for one in texts.examples
            ]
        return spread_of_credit(reward_model, rows, self._tokenizer, causal=causal)

    def _encode(self, examples: Sequence[Example]) -> Texts:
        return readable_texts(
            examples,
            self._tokenizer,
            self._config.training.max_length,
            policy_template=self._config.data.template,
            template=self._config.template,
        )

    def _locate(self, texts: Texts) -> list[ReadRow]:
        return [
            self._reader.locate(texts[number], example.text)
            for number, example in enumerate(texts.examples)
        ]

    def _hold_out(self, texts: Texts) -> HeldOutTexts:
        complete = self._locate(texts)
        always = self._truncation.model_copy(update={"share": 1.0})
        eos = self._tokenizer.eos_token_id
        cut = isinstance(texts, PlainTexts) and any(row.ids[-1] != eos for row in complete)
        return HeldOutTexts(
            complete,
            [self._begin(texts, number, always) for number in range(len(texts))],
            torch.tensor([example.label for example in texts.examples]) == 1,
            self._config.training.max_length if cut else None,
        )

    def _features(self, index: int) -> Features:
        """Returns ids and label of a text; some are cut to the lengths that PPO will produce."""
        ids = self._begin(self._texts, index, self._truncation)
        return {"input_ids": ids, "label": self.examples[index].label}

    def _begin(self, texts: Texts, index: int, truncation: TruncationConfig) -> list[int]:
        row = texts[index]
        cut = truncation_length(truncation, seed=self._config.run.seed, index=index)
        return row.ids if cut is None else self._reader.begin(row, texts.examples[index], cut)
