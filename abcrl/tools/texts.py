"""Texts read as responses: what measures credit without a policy that writes any."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.data import Example
from abcrl.dialogue import PromptText
from abcrl.models import PromptedText, TextReader, bos_prefix, tokens_in_spans
from abcrl.rl.sampling.prompts import unused_template
from abcrl.rl.sampling.responses import Responses
from abcrl.rl.scoring.scorer import Scorer

Spans = Callable[[str], list[tuple[int, int]]]

_AT_ONCE = 32


class ReadTexts(NamedTuple):
    """Responses behind their prompts; of a plain text, the first token is the prompt."""

    examples: list[Example]
    rows: list[PromptedText]
    """One of each. A plain text is BOS where the tokenizer begins with it, the text, and EOS unless
    the text was cut."""
    eos_token_id: int
    too_long: int = 0
    """Responses that were left out, as they do not fit behind their prompts."""

    @property
    def shortened(self) -> int:
        """Number of texts of which only the beginning is read."""
        return sum(row.ids[-1] != self.eos_token_id for row in self.rows)

    @property
    def response_width(self) -> int:
        """Tokens of the longest response."""
        return max(len(row.ids) - row.start for row in self.rows)

    def responses(self, rows: Sequence[int], device: torch.device) -> Responses:
        """Returns some of them as a batch."""
        return as_responses(
            [self.rows[row] for row in rows], device, [self.examples[row].prompt for row in rows]
        )

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[range, Responses]]:
        """Yields all in their order, and which they are."""
        for start in range(0, len(self.rows), size):
            rows = range(start, min(start + size, len(self.rows)))
            yield rows, self.responses(rows, device)

    def keep(self, rows: Sequence[int]) -> "ReadTexts":
        """Returns some of them alone; the others are too long."""
        return self._replace(
            examples=[self.examples[row] for row in rows],
            rows=[self.rows[row] for row in rows],
            too_long=self.too_long + len(self.rows) - len(rows),
        )

    def tokens_on(self, spans: Spans, tokenizer: PreTrainedTokenizerBase) -> list[list[bool]]:
        """Returns for each response token of each text whether it is in one of the text's spans.

        Of plain texts: data that know such spans give no prompts.
        """
        marked = []
        prefix = len(bos_prefix(tokenizer))
        for example, row in zip(self.examples, self.rows, strict=True):
            inside = tokens_in_spans(tokenizer, example.text, spans(example.text))
            inside = [*[False] * prefix, *inside, False]
            marked.append(inside[row.start : len(row.ids)])
        return marked


def read_texts(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    template: str | None = None,
) -> ReadTexts:
    """Returns texts in a tokenizer's tokens, at most `max_length` of them each.

    Longer plain texts are cut; a response that does not fit behind its prompt is left out. So are
    prompts and texts that the tokenizer has no token for.

    Args:
        examples: Plain texts, or responses with their prompts.
        tokenizer: Of the tokens that get the credit.
        max_length: Tokens, prompt and response together.
        template: `data.template`.

    Raises:
        InputError: Fewer than two texts are left, or the template cannot be used.
    """
    if template is not None and all(example.prompt is None for example in examples):
        raise unused_template(template)
    prefix = len(bos_prefix(tokenizer))
    reader = TextReader(tokenizer, policy_template=template)
    rows = reader.read([one.prompt for one in examples], [one.text for one in examples])
    texts = ReadTexts([], [], int(tokenizer.eos_token_id))
    for example, (ids, start) in zip(examples, rows, strict=True):
        plain = example.prompt is None
        has_prompt, words = plain or start > 0, len(ids) - (prefix if plain else start) - 1
        if has_prompt and words:
            texts.examples.append(example)
            texts.rows.append(
                PromptedText(ids[:max_length], 1) if plain else PromptedText(ids, start)
            )
    if len(texts.rows) < 2:
        raise InputError(
            f"data.source: must hold at least two held-out texts that the tokenizer has tokens "
            f"for, received {len(texts.rows)} of {len(examples)}; give more texts with --dataset"
        )
    fitting = [place for place, row in enumerate(texts.rows) if len(row.ids) <= max_length]
    return _keep_two(texts, fitting)


def fit_texts(texts: ReadTexts, scorer: Scorer, device: torch.device) -> ReadTexts:
    """Returns the texts as far as the reward model would read their beginnings.

    Credit and drops of tokens that it does not see would be 0 together, and look like agreement.
    The end of a plain text is cut off; a response with a prompt is left out.

    Raises:
        InputError: Fewer than two texts are left, or the reward model's template has no place for a
            prompt.
    """
    rows = list(texts.rows)
    texts = texts._replace(rows=rows)
    unread: set[int] = set()
    pending = list(range(len(rows)))
    while pending:
        too_long = _cut_rows(texts, pending, scorer, device)
        unread.update(row for row in too_long if texts.examples[row].prompt is not None)
        pending = [row for row in too_long if row not in unread and len(rows[row].ids) > 2]
        for row in pending:
            ids, start = rows[row]
            rows[row] = PromptedText(ids[: max(2, len(ids) * 15 // 16)], start)
    return _keep_two(texts, [row for row in range(len(rows)) if row not in unread])


def as_responses(
    rows: Sequence[PromptedText],
    device: torch.device,
    said: Sequence[PromptText | None] | None = None,
) -> Responses:
    """Returns rows as one batch: left-padded prompts, right-padded responses.

    Args:
        rows: Prompts of one token and more, and any responses.
        device: Where the batch goes.
        said: What each prompt was written from; None where that is not known of any.
    """
    P = max(row.start for row in rows)
    R = max(len(row.ids) - row.start for row in rows)
    sequences, mask = [], []
    for ids, start in rows:
        left, right = P - start, R - (len(ids) - start)
        sequences.append([*ids[:1] * left, *ids, *ids[:1] * right])
        mask.append([False] * left + [True] * len(ids) + [False] * right)
    attention_mask = torch.tensor(mask, device=device)
    return Responses(
        torch.tensor(sequences, device=device),
        attention_mask,
        attention_mask[:, P:],
        said=tuple(said) if said is not None and any(said) else None,
    )


def as_mask(rows: Sequence[Sequence[bool]], width: int) -> Bool[Tensor, "B R"]:
    """Returns rows of any lengths as one tensor, False where they have ended."""
    return torch.tensor([[*row, *[False] * (width - len(row))] for row in rows])


def _cut_rows(
    texts: ReadTexts, rows: Sequence[int], scorer: Scorer, device: torch.device
) -> list[int]:
    """Returns those of some rows that are longer than the reward model reads."""
    cut = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        found = scorer.cuts(texts.responses(some, device)).tolist()
        cut += [row for row, is_cut in zip(some, found, strict=True) if is_cut]
    return cut


def _keep_two(texts: ReadTexts, rows: Sequence[int]) -> ReadTexts:
    """Returns some rows alone.

    Raises:
        InputError: They are fewer than two.
    """
    if len(rows) < 2:
        raise InputError(
            f"max_length: must leave at least two texts, prompt and response together, received "
            f"{len(rows)} of {len(texts.rows)} that the models read whole; raise it, or give "
            f"shorter texts"
        )
    return texts.keep(rows)
