"""Prompts and sampled responses as one batch of sequences."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from abcrl.dialogue import PromptText


@dataclass(frozen=True)
class Responses:
    """Left-padded prompts followed by right-padded responses, T = P + R.

    Attributes:
        sequences: Token ids; what stands in the padding is never read.
        attention_mask: True = a real token of prompt or response.
        response_mask: True = this response token counts.
        said: What each prompt was written from; None where that is nothing but its ids.
    """

    sequences: Int[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]
    response_mask: Bool[Tensor, "B R"]
    said: tuple[PromptText | None, ...] | None = None

    @property
    def response_width(self) -> int:
        """R, columns of the response window."""
        return self.response_mask.shape[1]

    @property
    def prompt_width(self) -> int:
        """P, columns of the prompt window."""
        return self.sequences.shape[1] - self.response_width

    @property
    def response_ids(self) -> Int[Tensor, "B R"]:
        """Token ids of the response window."""
        return self.sequences[:, self.prompt_width :]

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """Response tokens per row, EOS included."""
        return self.response_mask.sum(-1)

    def take(self, rows: Int[Tensor, " b"]) -> "Responses":
        """Returns some rows, with the columns trimmed that none of them needs."""
        attention, response = self.attention_mask[rows], self.response_mask[rows]
        first = int(attention.any(0).int().argmax())
        width = int(response.any(0).sum())
        last = self.prompt_width + width
        return Responses(
            sequences=self.sequences[rows, first:last],
            attention_mask=attention[:, first:last],
            response_mask=response[:, :width],
            said=None if self.said is None else tuple(self.said[row] for row in rows.tolist()),
        )

    def ids_of(self, row: int) -> tuple[list[int], list[int]]:
        """Returns one row's prompt ids and response ids without padding."""
        prompt = slice(None, self.prompt_width)
        prompt_ids = self.sequences[row, prompt][self.attention_mask[row, prompt]]
        response_ids = self.response_ids[row][self.response_mask[row]]
        return prompt_ids.tolist(), response_ids.tolist()

    def ended(self, eos_token_id: int) -> Bool[Tensor, " B"]:
        """Returns which responses end in EOS, i.e. were not cut at their cap."""
        return ((self.response_ids == eos_token_id) & self.response_mask).any(-1)
