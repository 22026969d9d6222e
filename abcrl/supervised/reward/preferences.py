"""The objective `bradley-terry`: pairs of chosen and rejected, and one output, the score."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from abcrl.analysis.quality.credit_spread import CreditSpread
from abcrl.analysis.quality.preference_quality import (
    PreferenceQuality,
    SidesOfPairs,
    longer_is_better,
    measure_preferences,
)
from abcrl.config import TrainRmConfig, TruncationConfig
from abcrl.data import Corpus, Example, Pair, read_pairs, truncation_length
from abcrl.models import RewardModel, TextReader, read_scores
from abcrl.rl.formulas.preference import PreferenceLoss, bradley_terry_loss
from abcrl.supervised.texts import (
    Features,
    PairTexts,
    TextDataset,
    pad_right,
    require_places,
    tell_too_long,
)
from abcrl.supervised.trainer import LossSum

from .rows import ReadRow, RowReader, score_by_length, spaced, spread_of_credit

# Held-out pairs that the accuracy is measured on.
_HELD_OUT = 1024


class Preferences:
    """What a reward model learns from pairs; see `objectives.Objective`."""

    labels = ("score",)

    @staticmethod
    def read(config: TrainRmConfig, tell: Callable[[str], None]) -> Corpus[Pair]:
        """Returns the pairs.

        Raises:
            InputError: See `read_pairs`.
        """
        return read_pairs(config.data, tell)

    def __init__(
        self,
        config: TrainRmConfig,
        corpus: Corpus[Pair],
        tokenizer: PreTrainedTokenizerBase,
        tell: Callable[[str], None],
    ) -> None:
        """Encodes the pairs; those that are too long, or alike in tokens, are left out and told.

        Raises:
            InputError: A template cannot be used, or no pair fits `training.max_length`.
        """
        self._config = config
        self._tokenizer = tokenizer
        limit = config.training.max_length
        require_places(corpus.train, config.data.template, config.template)
        reader = TextReader(
            tokenizer, policy_template=config.data.template, template=config.template
        )
        self._texts = PairTexts(corpus.train, reader, limit)
        tell_too_long(tell, self._texts, limit)
        heldout = PairTexts(corpus.sample_validation(_HELD_OUT), reader, limit)
        tell_too_long(tell, heldout, limit, part="held-out data")
        self._rows = RowReader(tokenizer, config)
        self._heldout = heldout
        self._chosen, self._rejected = [], []
        for number, pair in enumerate(heldout.pairs):
            chosen, rejected = heldout[number]
            self._chosen.append(self._rows.locate(chosen, pair.chosen))
            self._rejected.append(self._rows.locate(rejected, pair.rejected))
        self._margins = torch.tensor([self._margin(pair) for pair in heldout.pairs])

    @property
    def dataset(self) -> TextDataset:
        """Both sides of each pair, some cut to lengths that PPO will produce, and its margin."""
        return TextDataset(self._texts, self._features)

    @property
    def examples(self) -> Sequence[Example]:
        """What is trained on: of each pair prompt and chosen."""
        return [Example(pair.chosen, prompt=pair.prompt) for pair in self._texts.pairs]

    def collate(self, rows: Sequence[Features]) -> dict[str, Tensor]:
        """Returns all chosen sides, then all rejected ones, as one right-padded batch."""
        sides = [{"input_ids": row[side]} for side in ("chosen", "rejected") for row in rows]
        batch = pad_right(sides, pad_token_id=self._tokenizer.pad_token_id)
        batch["margin"] = torch.tensor([row["margin"] for row in rows])
        return batch

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> LossSum:
        """Returns the loss of a batch of `collate`'s, both sides read in one forward pass."""
        scores = read_scores(model, batch["input_ids"], batch["attention_mask"].bool())
        chosen, rejected = scores.chunk(2)
        total = self._loss(chosen, rejected, batch["margin"]).total
        return LossSum(total.sum(), torch.tensor(len(total), device=total.device))

    def heldout_loss(self, model: PreTrainedModel) -> float:
        """Returns the mean loss of whole held-out pairs, margin and centring in."""
        chosen, rejected = self._score_whole(RewardModel(model))
        return float(self._loss(chosen, rejected, self._margins).total.double().mean())

    def good_rows(self, count: int) -> list[list[int]]:
        """Returns the ids of chosen responses to train on, with what they answer."""
        return [self._texts[number][0].ids for number in spaced(count, len(self._texts))]

    def measure(self, reward_model: RewardModel) -> PreferenceQuality:
        """Returns accuracy, beside that of preferring the longer response, and calibration.

        And what an end does to a score: PPO reads most responses cut at their cap, without EOS.
        """
        pairs = (self._texts[number] for number in range(len(self._texts)))
        # Prompt and template are the same on both sides.
        lengths = torch.tensor([[len(side.ids) for side in pair] for pair in pairs])
        return measure_preferences(
            SidesOfPairs(
                *self._score_whole(reward_model),
                _lengths(self._chosen),
                _lengths(self._rejected),
                self._score_without_eos(reward_model),
                self._score_truncated(reward_model),
            ),
            prefers_longer=longer_is_better(*lengths.T),
        )

    def spread_of_credit(self, reward_model: RewardModel) -> CreditSpread:
        """Returns how ABC credit spreads over held-out chosen responses.

        Raises:
            CaptureError: The model's attention cannot be captured.
        """
        numbers = spaced(self._config.credit_texts, len(self._chosen))
        rows = [self._chosen[number] for number in numbers]
        return spread_of_credit(reward_model, rows, self._tokenizer)

    def _features(self, index: int) -> Features:
        chosen, rejected = self._begin(self._texts, index, self._config.truncation)
        margin = self._margin(self._texts.pairs[index])
        return {"chosen": chosen, "rejected": rejected, "margin": margin}

    def _begin(
        self, texts: PairTexts, index: int, truncation: TruncationConfig | None
    ) -> tuple[list[int], list[int]]:
        """Returns the ids of both sides, whole or cut to the same number of response tokens.

        A side with fewer tokens keeps its EOS. A pair whose sides would be the same stays whole:
        it would say nothing.
        """
        chosen, rejected = texts[index]
        cut = None
        if truncation is not None:
            cut = truncation_length(truncation, seed=self._config.run.seed, index=index)
        if cut is None:
            return chosen.ids, rejected.ids
        pair = texts.pairs[index]
        better = self._rows.begin(chosen, Example(pair.chosen, prompt=pair.prompt), cut)
        worse = self._rows.begin(rejected, Example(pair.rejected, prompt=pair.prompt), cut)
        return (chosen.ids, rejected.ids) if better == worse else (better, worse)

    def _margin(self, pair: Pair) -> float:
        return self._config.pairs.margin if pair.margin is None else pair.margin

    def _loss(self, chosen: Tensor, rejected: Tensor, margin: Tensor) -> PreferenceLoss:
        return bradley_terry_loss(chosen, rejected, margin, self._config.pairs.center_coef)

    def _score_whole(self, reward_model: RewardModel) -> tuple[Tensor, Tensor]:
        rows: list[Any] = [row.ids for row in (*self._chosen, *self._rejected)]
        chosen, rejected = score_by_length(reward_model, rows).chunk(2)
        return chosen, rejected

    def _score_without_eos(self, reward_model: RewardModel) -> Tensor:
        rows = [
            self._rows.without_eos(self._heldout[at][0], Example(pair.chosen, prompt=pair.prompt))
            for at, pair in enumerate(self._heldout.pairs)
        ]
        return score_by_length(reward_model, rows)

    def _score_truncated(self, reward_model: RewardModel) -> tuple[Tensor, Tensor] | None:
        """Returns the scores of all held-out pairs, cut as some of those to train on are."""
        if self._config.truncation is None:
            return None
        always = self._config.truncation.model_copy(update={"share": 1.0})
        pairs = [self._begin(self._heldout, at, always) for at in range(len(self._heldout))]
        rows = [side for sides in zip(*pairs, strict=True) for side in sides]
        chosen, rejected = score_by_length(reward_model, rows).chunk(2)
        return chosen, rejected


def _lengths(rows: Sequence[ReadRow]) -> Tensor:
    return torch.tensor([len(row.places) for row in rows])
