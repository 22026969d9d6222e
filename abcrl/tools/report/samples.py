"""Samples of the arms side by side: the same prompt and seed, what each arm made of it.

A page has to stay small: it shows whole groups, arm beside arm, as many as fit, and says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from abcrl.config import InputError

from .sample_rows import CellSamples, Row
from .visible import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_BYTES = 1_400_000
"""What all samples may take on the page."""
_MOST_TOKENS = 16_000
"""Shared by the responses to one prompt: of longer ones the beginning is shown."""
_TOKEN_BYTES, _RESPONSE_BYTES = 76, 900  # of HTML, besides the text itself
_PROMPT_CHARACTERS = 4000
_ROUNDING = 1e-6
_FULL_SHADE = 5


@dataclass(frozen=True)
class Token:
    """One token of a response."""

    text: str
    """Empty for one that adds no letter of its own."""
    credit: float
    score: float
    """The token's share of the score."""
    ends: bool = False
    """Whether it is EOS."""


@dataclass(frozen=True)
class Sample:
    """One response."""

    arm: int
    step: int
    score: float
    response: str
    tokens: tuple[Token, ...]
    """Empty where the tokens cannot be located in the response."""
    left_out: int = 0
    """Tokens at its end that are not shown."""
    largest: float = 0.0
    """The largest absolute score of a token, shown or not."""
    gold_score: float | None = None
    offset: float = 0.0
    """What is taken off the score before it is spread."""
    shaped_score: float | None = None
    """What is spread, where more is done to the score than taking off its offset."""

    @property
    def length(self) -> int:
        """Number of tokens, shown or not."""
        return len(self.tokens) + self.left_out

    def credit_shade(self, token: Token) -> float:
        """Returns the depth of a token's colour, -1 to 1: full at five times an even share."""
        return max(-1.0, min(1.0, token.credit * self.length / _FULL_SHADE))

    def score_shade(self, token: Token) -> float:
        """Returns the same for its score, relative to the largest of the response."""
        return token.score / (self.largest or 1.0)


@dataclass(frozen=True)
class Group:
    """The responses of all arms to one prompt, with one seed, at one evaluation."""

    when: str
    """first | last."""
    seed: int
    prompt_index: int
    prompt: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Samples:
    """What of the samples a page shows.

    Attributes:
        groups: In the order in which they are stepped through.
        shown: Number of responses in them.
        of: Number of responses at the first and last evaluations.
        last_step: Of all last evaluations the latest; 0 without samples.
        located: Whether tokens could be told apart.
    """

    groups: tuple[Group, ...] = ()
    shown: int = 0
    of: int = 0
    last_step: int = 0
    located: bool = True


class Locator:
    """Cuts responses into tokens with the policy's tokenizer."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Loads the first tokenizer that can be loaded.

        Args:
            places: Folders of models that share the policy's tokenizer.
        """
        self._tokenizer: PreTrainedTokenizerBase | None = None
        for place in places:
            if not place.is_dir():
                continue
            from abcrl.models import load_tokenizer  # its libraries take seconds to import

            try:
                self._tokenizer = load_tokenizer(str(place), "policy")
            except InputError:
                continue
            return

    @property
    def ready(self) -> bool:
        """Whether there is a tokenizer."""
        return self._tokenizer is not None

    def cut(self, row: Row) -> tuple[Token, ...]:
        """Returns the tokens of a sample; none where they cannot be located."""
        if self._tokenizer is None or not row.get("credit"):
            return ()
        from abcrl.models import decode_response

        try:
            decoded = decode_response(self._tokenizer, row["prompt_ids"], row["response_ids"])
        except InputError:
            return ()
        texts = _between(decoded.text, decoded.edges)
        ends = [False] * (len(texts) - 1) + [decoded.ended]
        numbers = zip(texts, row["credit"], row["token_scores"], ends, strict=True)
        return tuple(Token(*each) for each in numbers)


def choose_samples(
    cells: Sequence[CellSamples], locate: Locator, *, most_bytes: int = MOST_BYTES
) -> Samples:
    """Returns groups of samples, the first seed's first, as many as fit; maybe none.

    Args:
        cells: All cells that have samples.
        locate: Tells tokens apart.
        most_bytes: Size of their HTML.
    """
    of = sum(len(cell.first) + len(cell.last) for cell in cells if cell.first)
    arms = max(1, len({cell.arm for cell in cells}))
    longest = max(40, _MOST_TOKENS // (2 * arms))
    groups: list[Group] = []
    left = most_bytes
    for pair in _pairs(cells):
        made = [_make(group, rows, locate, longest) for group, rows in pair]
        left -= sum(map(_size, made))
        if left < 0:
            break
        groups += made
    return Samples(
        tuple(groups),
        shown=sum(len(group.samples) for group in groups),
        of=of,
        last_step=max((row["step"] for cell in cells for row in cell.last), default=0),
        located=all(sample.tokens for group in groups for sample in group.samples),
    )


def _pairs(cells: Sequence[CellSamples]) -> Iterator[list[tuple[Group, dict[int, Row]]]]:
    """Yields for each seed and prompt the group at the first and at the last evaluation."""
    gathered: dict[tuple[int, int, str], dict[int, Row]] = {}
    for cell in cells:
        for when, rows in (("first", cell.first), ("last", cell.last)):
            for row in rows:
                key = (cell.seed, row["prompt_index"], when)
                gathered.setdefault(key, {})[cell.arm] = row
    for seed, prompt in sorted({(seed, prompt) for seed, prompt, _ in gathered}):
        keys = [(seed, prompt, when) for when in ("first", "last")]
        yield [
            (Group(key[2], seed, prompt, _prompt_of(gathered[key]), ()), gathered[key])
            for key in keys
            if key in gathered
        ]


def _prompt_of(rows: Mapping[int, Row]) -> str:
    prompt = str(next(iter(rows.values()))["prompt"])
    cut = len(prompt) - _PROMPT_CHARACTERS
    return prompt if cut <= 0 else f"[... {cut:,} characters ...]{prompt[cut:]}"


def _begin(response: str, characters: int) -> str:
    cut = len(response) - characters
    return response if cut <= 0 else f"{response[:characters]}[... {cut:,} characters ...]"


def _make(group: Group, rows: Mapping[int, Row], locate: Locator, longest: int) -> Group:
    samples = []
    for arm, row in sorted(rows.items()):
        tokens = locate.cut(row)
        sample = Sample(
            arm=arm,
            step=row["step"],
            score=row["score"],
            response=_begin(str(row["response"]), 8 * longest),
            tokens=tokens[:longest],
            left_out=max(0, len(tokens) - longest),
            largest=max((abs(token.score) for token in tokens), default=0.0),
            gold_score=row.get("gold_score"),
            offset=row.get("score_offset") or 0.0,
            shaped_score=row.get("shaped_score"),
        )
        samples.append(sample)
    return replace(group, samples=tuple(samples))


def _size(group: Group) -> int:
    """Returns about how many bytes the group takes on the page."""
    size = _bytes_of(group.prompt)
    for sample in group.samples:
        texts = [token.text for token in sample.tokens] or [sample.response]
        size += _RESPONSE_BYTES + len(sample.tokens) * _TOKEN_BYTES
        size += sum(map(_bytes_of, texts))
    return size


def _bytes_of(text: str) -> int:
    return len(escape(visible(text)).encode())


def _between(text: str, edges: Sequence[float]) -> list[str]:
    """Returns the parts of a text between positions in its UTF-8 bytes.

    A character that several tokens make together belongs to the one that begins it.
    """
    starts = [0]
    for char in text:
        starts.append(starts[-1] + len(char.encode()))
    places = [0]  # a character that the prompt has begun is the response's
    at = 0
    for edge in edges[1:]:
        while at < len(text) and starts[at] < edge - _ROUNDING:
            at += 1
        places.append(at)
    return [text[start:end] for start, end in pairwise(places)]
