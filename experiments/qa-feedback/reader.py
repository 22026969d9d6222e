"""Answers as a reward model reads them, right behind their questions, a few at a time."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from answers import Row
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import RewardModel, RewardOutput, bos_prefix, context_length, encode_plain

BATCH: Final = 16


class Batch(NamedTuple):
    """Answers as the reward model reads them: left-padded questions, right-padded answers."""

    input_ids: Tensor
    """[N, P + R]."""
    mask: Tensor
    """bool [N, P + R]."""
    prompt_width: int
    """P."""

    @property
    def response_mask(self) -> Tensor:
        """True = a token of the answer, EOS included, bool [N, R]."""
        return self.mask[:, self.prompt_width :]


class Reader:
    """Reads answers with one reward model."""

    def __init__(
        self, reward_model: RewardModel, tokenizer: PreTrainedTokenizerBase, template: str
    ) -> None:
        self.reward_model = reward_model
        self.tokenizer = tokenizer
        self._template = template

    def encode(self, rows: Sequence[Row], answers: Sequence[str]) -> Batch:
        """Return questions with their answers, each a complete text that ends with EOS.

        Raises:
            InputError: One is longer than the reward model can read.
        """
        prefix, eos = bos_prefix(self.tokenizer), self.tokenizer.eos_token_id
        prompts = [[*prefix, *encode_plain(self.tokenizer, self._prompt_of(row))] for row in rows]
        responses = [[*encode_plain(self.tokenizer, answer), eos] for answer in answers]
        pairs = list(zip(prompts, responses, strict=True))
        longest = max(len(prompt) + len(response) for prompt, response in pairs)
        context = context_length(self.reward_model.model)
        if context is not None and longest > context:
            raise InputError(
                f"data: question and answer must fit the reward model's context of {context} "
                f"tokens, received {longest}; choose another --template or reward model"
            )
        P, R = max(map(len, prompts)), max(map(len, responses))
        ids = torch.zeros(len(pairs), P + R, dtype=torch.long)
        mask = torch.zeros(len(pairs), P + R, dtype=torch.bool)
        for row, (prompt, response) in enumerate(pairs):
            text = slice(P - len(prompt), P + len(response))
            ids[row, text] = torch.tensor(prompt + response)
            mask[row, text] = True
        return Batch(ids, mask, P)

    def score(self, batch: Batch, **asked: bool) -> RewardOutput:
        """Return scores and what is asked for beside them, as `RewardModel.score`, on the CPU."""
        device = self.reward_model.model.device
        outputs = [
            self.reward_model.score(ids.to(device), mask.to(device), **asked)
            for ids, mask in zip(batch.input_ids.split(BATCH), batch.mask.split(BATCH), strict=True)
        ]
        fields = zip(*outputs, strict=True)
        return RewardOutput(
            *(None if field[0] is None else torch.cat(field).cpu() for field in fields)
        )

    def _prompt_of(self, row: Row) -> str:
        passages = "\n".join(" ".join(passage) for passage in row["passages"])
        text = self._template.replace("{passages}", passages)
        return text.replace("{question}", row["question"])
