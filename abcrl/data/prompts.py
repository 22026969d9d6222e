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
    """Returns the texts that are long enough, in characters, to give a prompt; copies once.

    Raises:
        InputError: No text is.
    """
    long_enough = (e.text for e in examples if len(e.text) > config.min_characters)
    texts = list(dict.fromkeys(long_enough))
    if not texts:
        raise InputError(
            f"prompt.min_characters: some text must be longer than {config.min_characters} "
            f"characters, none of {len(examples)} is; lower it"
        )
    return texts


def require_two_heldout(count: int) -> None:
    """Refuses held-out texts of which fewer than two give a prompt: they have no spread.

    Args:
        count: Held-out texts that give a prompt.

    Raises:
        InputError: Fewer than two do.
    """
    if count < 2:
        raise InputError(
            f"data.validation_fraction: must leave at least two held-out texts that give a "
            f"prompt, received {count}; give more texts or a larger fraction"
        )


class PromptPool:
    """The texts that give a prompt, and how it is cut from them."""

    def __init__(
        self,
        examples: Sequence[Example],
        encode: Callable[[list[str]], list[list[int]]],
        config: PromptConfig,
        *,
        prefix: tuple[int, ...] = (),
    ) -> None:
        """Selects the texts that are long enough.

        Args:
            examples: The texts.
            encode: Texts to ids without special tokens.
            config: How long prompts are, and which texts give one.
            prefix: Ids that begin every prompt and do not count towards its length, e.g. BOS.

        Raises:
            InputError: No text is, in characters or in tokens.
        """
        texts = prompt_texts(examples, config)
        # A text of so many characters has enough tokens; so only short ones have to be encoded.
        surely = _CHARACTERS_PER_TOKEN * config.min_tokens
        short = [text for text in texts if len(text) < surely]
        lengths = dict(zip(short, map(len, encode(short)) if short else (), strict=True))
        self._texts = [
            text for text in texts if lengths.get(text, config.min_tokens) >= config.min_tokens
        ]
        if not self._texts:
            raise InputError(
                f"prompt.min_tokens: some text must have at least {config.min_tokens} tokens, none "
                f"of {len(examples)} does; lower it"
            )
        self._encode = encode
        self._config = config
        self._prefix = prefix

    def __len__(self) -> int:
        """Number of texts that give a prompt; beyond it texts come again."""
        return len(self._texts)

    def cut(self, number: int, draw: random.Random) -> tuple[int, ...]:
        """Returns a prompt, of a length that is drawn, from the beginning of one of the texts.

        Of a text of fewer tokens (one endless word, or a short text) it is the whole.
        """
        length = draw.randint(self._config.min_tokens, self._config.max_tokens)
        [ids] = self._encode([self._texts[number]])
        return (*self._prefix, *ids[:length])


class PromptSource:
    """An endless sequence of prompts: a fresh shuffle of the texts per epoch.

    Prompt `n` is a function of (texts, configuration, seed, stream, n) alone, so it does not
    depend on batch sizes, on what was drawn before, or on where a run was resumed.
    """

    def __init__(self, pool: PromptPool, *, seed: int, stream: str) -> None:
        """Takes the texts, the seed of order and lengths, and a name for the random stream.

        Two sources of one run use two names.
        """
        self._pool = pool
        self._seed = seed
        self._stream = stream
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Number of prompts before a text comes again."""
        return len(self._pool)

    def take(self, start: int, count: int) -> list[Prompt]:
        """Returns prompts start .. start + count - 1 of the sequence."""
        return [self._prompt(index) for index in range(start, start + count)]

    def _prompt(self, index: int) -> Prompt:
        epoch, position = divmod(index, len(self._pool))
        draw = random.Random(stream_seed(self._seed, f"{self._stream}-length", index))
        return Prompt(index, self._pool.cut(self._epoch_order(epoch)[position], draw))

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            order = list(range(len(self._pool)))
            random.Random(stream_seed(self._seed, f"{self._stream}-order", epoch)).shuffle(order)
            self._order = (epoch, order)
        return self._order[1]
