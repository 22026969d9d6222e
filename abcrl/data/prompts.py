"""Prompts: the first few tokens of texts, drawn outside any cache from the run's own seed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from abcrl.config import InputError, PromptConfig, stream_seed

from .records import Example

# Words that a tokenizer does not cut have no more than this, but for freaks.
_CHARACTERS_PER_TOKEN = 100


@dataclass(frozen=True)
class Prompt:
    """A prompt and the number that its random draws are keyed by.

    Attributes:
        index: Position in the run's endless sequence of prompts; no two prompts share one.
        ids: Token ids, left to right.
    """

    index: int
    ids: tuple[int, ...]


def prompt_texts(examples: Sequence[Example], config: PromptConfig) -> list[str]:
    """Returns the texts that are long enough, in characters, to give a prompt.

    Raises:
        InputError: No text is.
    """
    texts = [example.text for example in examples if len(example.text) > config.min_characters]
    if not texts:
        raise InputError(
            f"prompt.min_characters: some text must be longer than {config.min_characters} "
            f"characters, none of {len(examples)} is; lower it"
        )
    return texts


class PromptSource:
    """An endless sequence of prompts: a fresh shuffle of the texts per epoch.

    Prompt `n` is a function of (texts, configuration, seed, stream, n) alone, so it does not
    depend on batch sizes, on what was drawn before, or on where a run was resumed.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        encode: Callable[[str], list[int]],
        config: PromptConfig,
        *,
        prefix: tuple[int, ...] = (),
        seed: int,
        stream: str,
    ) -> None:
        """Selects the texts that are long enough.

        Args:
            examples: The texts.
            encode: Text to ids without special tokens.
            config: How long prompts are, and which texts give one.
            prefix: Ids that begin every prompt and do not count towards its length, e.g. BOS.
            seed: Seed of order and lengths.
            stream: Name of the random stream; two sources of one run use two names.

        Raises:
            InputError: No text is, in characters or in tokens.
        """
        # A text that is this long has enough tokens; so only short ones have to be encoded here.
        surely = _CHARACTERS_PER_TOKEN * config.min_tokens
        self._texts = [
            text
            for text in prompt_texts(examples, config)
            if len(text) >= surely or len(encode(text)) >= config.min_tokens
        ]
        if not self._texts:
            raise InputError(
                f"prompt.min_tokens: some text must have at least {config.min_tokens} tokens, none "
                f"of {len(examples)} does; lower it"
            )
        self._encode = encode
        self._prefix = prefix
        self._config = config
        self._seed = seed
        self._stream = stream
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Number of texts that give a prompt; beyond it texts come again."""
        return len(self._texts)

    def take(self, start: int, count: int) -> list[Prompt]:
        """Returns prompts start .. start + count - 1 of the sequence."""
        return [self._prompt(index) for index in range(start, start + count)]

    def _prompt(self, index: int) -> Prompt:
        epoch, position = divmod(index, len(self._texts))
        text = self._texts[self._epoch_order(epoch)[position]]
        draw = random.Random(stream_seed(self._seed, f"{self._stream}-length", index))
        length = draw.randint(self._config.min_tokens, self._config.max_tokens)
        return Prompt(index=index, ids=(*self._prefix, *self._encode(text)[:length]))

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            order = list(range(len(self._texts)))
            random.Random(stream_seed(self._seed, f"{self._stream}-order", epoch)).shuffle(order)
            self._order = (epoch, order)
        return self._order[1]
