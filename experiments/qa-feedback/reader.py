"""Answers as a reward model reads them, right behind their questions, a few at a time."""

from collections.abc import Sequence
from typing import Final

import torch
from answers import Row
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.dialogue import PromptText
from abcrl.models import RewardModel, RewardOutput, TextReader, context_length
from abcrl.rl.sampling.responses import Responses
from abcrl.tools.texts import as_responses

BATCH: Final = 16


class Reader:
    """Reads answers with one reward model."""

    def __init__(
        self, reward_model: RewardModel, tokenizer: PreTrainedTokenizerBase, template: str
    ) -> None:
        self.reward_model = reward_model
        self.tokenizer = tokenizer
        self._template = template

    def encode(self, rows: Sequence[Row], answers: Sequence[str]) -> Responses:
        """Return questions with their answers, each a complete text that ends with EOS.

        Raises:
            InputError: One is longer than the reward model can read.
        """
        prompts = [PromptText(self._prompt_of(row)) for row in rows]
        texts = TextReader(self.tokenizer).read(prompts, answers)
        longest = max(len(text.ids) for text in texts)
        context = context_length(self.reward_model.model)
        if context is not None and longest > context:
            raise InputError(
                f"data: question and answer must fit the reward model's context of {context} "
                f"tokens, received {longest}; choose another --template or reward model"
            )
        return as_responses(texts, torch.device("cpu"))

    def score(self, responses: Responses, **asked: bool) -> RewardOutput:
        """Return scores and what is asked for beside them, as `RewardModel.score`, on the CPU."""
        device = self.reward_model.model.device
        batches = zip(
            responses.sequences.split(BATCH), responses.attention_mask.split(BATCH), strict=True
        )
        outputs = [
            self.reward_model.score(ids.to(device), mask.to(device), **asked)
            for ids, mask in batches
        ]
        fields = zip(*outputs, strict=True)
        return RewardOutput(
            *(None if field[0] is None else torch.cat(field).cpu() for field in fields)
        )

    def _prompt_of(self, row: Row) -> str:
        passages = "\n".join(" ".join(passage) for passage in row["passages"])
        text = self._template.replace("{passages}", passages)
        return text.replace("{question}", row["question"])
