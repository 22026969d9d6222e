"""Prompts: those that a source gives, or the first few tokens of its texts.

Drawn outside any cache from the run's own seed.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from abcrl.config import InputError, PromptConfig, stream_seed
from abcrl.dialogue import PromptText

from .records import Example

# Words that a tokenizer does not cut have no more than this, but for freaks.
_CHARACTERS_PER_TOKEN = 100


@dataclass(frozen=True)
class Prompt:
    """A prompt and the number that its random draws are keyed by.

    Attributes:
        index: Position in the run's endless sequence of prompts; no two prompts share one.
        ids: Token ids, left to right.
        said: What the ids were written from; None where they are the beginning of a text.
    """

    index: int
    ids: tuple[int, ...]
    said: PromptText | None = None


def count_prompts(examples: Sequence[Example], config: PromptConfig) -> int:
    """Returns how many examples give a prompt, as far as that can be told without a tokenizer.

    Raises:
        InputError: None does.
    """
    given = {example.prompt.key for example in examples if example.prompt is not None}
    return len(given) or len(_long_texts(examples, config))


def _long_texts(examples: Sequence[Example], config: PromptConfig) -> list[str]:
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


@runtime_checkable
class PromptPool(Protocol):
    """What gives prompts, and how."""

    def __len__(self) -> int:
        """Number of prompts before one comes again."""
        ...

    def give(self, index: int, number: int, draw: random.Random) -> Prompt:
        """Returns what entry `number` of the pool gives, as prompt `index` of a sequence.

        Args:
            index: What the prompt's own draws are keyed by.
            number: From 0 to the pool's length.
            draw: For what is drawn of the prompt itself.
        """
        ...


class TextBeginnings:
    """Texts that are long enough, and prompts cut from them."""

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
        texts = _long_texts(examples, config)
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

    def give(self, index: int, number: int, draw: random.Random) -> Prompt:
        """Returns a prompt, of a length that is drawn, from the beginning of one of the texts.

        Of a text of fewer tokens (one endless word, or a short text) it is the whole.
        """
        length = draw.randint(self._config.min_tokens, self._config.max_tokens)
        [ids] = self._encode([self._texts[number]])
        return Prompt(index, (*self._prefix, *ids[:length]))


class GivenPrompts:
    """Prompts that the source gives, whole; those that are too long, or nothing, are left out.

    Attributes:
        left_out: How many have too many tokens, or none.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        write: Callable[[list[PromptText]], list[list[int]]],
        config: PromptConfig,
    ) -> None:
        """Writes the prompts, each once, however many responses the source has to it.

        Args:
            examples: All of them have a prompt.
            write: Prompts to ids, with everything that stands around them.
            config: `max_tokens`, of all these ids; the rest is about beginnings of texts.

        Raises:
            InputError: All of them are too long.
        """
        prompts = {one.prompt.key: one.prompt for one in examples if one.prompt is not None}
        said = list(prompts.values())
        written = zip(said, write(said), strict=True)
        self._prompts = [
            (prompt, tuple(ids)) for prompt, ids in written if 0 < len(ids) <= config.max_tokens
        ]
        self.left_out = len(said) - len(self._prompts)
        if not self._prompts:
            raise InputError(
                f"prompt.max_tokens: some prompt must have at most {config.max_tokens} tokens, "
                f"none of {len(said)} has; raise it"
            )

    def __len__(self) -> int:
        """Number of different prompts."""
        return len(self._prompts)

    def give(self, index: int, number: int, draw: random.Random) -> Prompt:  # noqa: ARG002
        """Returns one of the prompts."""
        said, ids = self._prompts[number]
        return Prompt(index, ids, said)


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
        return self._pool.give(index, self._epoch_order(epoch)[position], draw)

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            order = list(range(len(self._pool)))
            random.Random(stream_seed(self._seed, f"{self._stream}-order", epoch)).shuffle(order)
            self._order = (epoch, order)
        return self._order[1]
