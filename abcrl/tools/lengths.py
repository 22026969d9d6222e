"""How long records are, and what the token limits of the commands leave out of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from abcrl.config import PromptConfig, TrainingConfig
from abcrl.data.records import Pair, Record
from abcrl.data.selection import prompt_characters

from .rendered import Renderer, texts_of


@dataclass(frozen=True)
class Lengths:
    """How long one part of the records is.

    Attributes:
        part: Which one.
        unit: characters or tokens; those include all that the template puts around.
        low: The shortest.
        median: Half are no longer.
        p90: Nine tenths are no longer.
        p99: Ninety-nine of a hundred are no longer.
        high: The longest.
    """

    part: str
    unit: str
    low: int
    median: int
    p90: int
    p99: int
    high: int


@dataclass(frozen=True)
class Limit:
    """What a token limit does to the records.

    Attributes:
        key: The configuration key that sets it.
        value: Its default, tokens.
        counted: What has to fit: rows, prompts, ...
        total: How many of those there are.
        over: How many of them have more tokens.
        effect: What the commands do with those.
        enough: The tokens that nine tenths need at most.
        kept: How many need no more than that.
    """

    key: str
    value: int
    counted: str
    total: int
    over: int
    effect: str
    enough: int
    kept: int


def measure(
    renderer: Renderer, records: Sequence[Record]
) -> tuple[list[Lengths], tuple[Limit, ...]]:
    """Returns how long the parts of records are, and what the default limits do to them.

    Tokens are those of records that can be written; without a tokenizer there are none.
    """
    counted: dict[tuple[str, str], list[int]] = {}
    for record in records:
        for name, text in texts_of(record):
            size = prompt_characters(record) if name == "prompt" else len(text)
            counted.setdefault((name, "characters"), []).append(size)
    whole: list[int] = []
    prompts: dict[str, int] = {}  # PPO asks each once, see `abcrl.data.GivenPrompts`
    for record, parts in renderer.encoded(records):
        sizes = {name: len(ids) for name, ids in parts.items()}
        for name, size in sizes.items():
            counted.setdefault((name, "tokens"), []).append(size)
        asked = sizes.pop("prompt", 0)
        if record.prompt is not None:
            prompts[record.prompt.key] = asked
        whole.extend(asked + longest for longest in sorted(sizes.values())[-1:])
    lengths = [_summarize(*key, values) for key, values in counted.items()]
    return lengths, tuple(_limits(records, whole, list(prompts.values())))


def _limits(records: Sequence[Record], whole: list[int], prompts: list[int]) -> Iterator[Limit]:
    """Yields the limits of those sizes that there are."""
    if whole:
        yield _limit("training.max_length", TrainingConfig().max_length, _whole(records[0]), whole)
    if prompts:
        words = ("prompts", "ppo leaves them out")
        yield _limit("prompt.max_tokens", PromptConfig().max_tokens, words, prompts)


def _whole(record: Record) -> tuple[str, str]:
    """Returns what has to fit whole, and what is done with what does not."""
    if isinstance(record, Pair):
        counted = "pairs (the longer side)"
        if record.prompt is None:
            return counted, "train-rm leaves them out, sft cuts chosen texts"
        return counted, "train-rm leaves them out, sft where it is the chosen side"
    if record.prompt is None:
        return "texts", "sft and train-rm cut them"
    return "rows", "sft and train-rm leave them out"


def _limit(key: str, value: int, words: tuple[str, str], sizes: list[int]) -> Limit:
    counted, effect = words
    over = sum(size > value for size in sizes)
    enough = _at(sorted(sizes), 0.9)
    kept = sum(size <= enough for size in sizes)
    return Limit(key, value, counted, len(sizes), over, effect, enough, kept)


def _summarize(part: str, unit: str, values: list[int]) -> Lengths:
    ordered = sorted(values)
    median, p90, p99 = (_at(ordered, share) for share in (0.5, 0.9, 0.99))
    return Lengths(part, unit, ordered[0], median, p90, p99, ordered[-1])


def _at(ordered: Sequence[int], share: float) -> int:
    """Returns the value of the nearest rank, from above."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
