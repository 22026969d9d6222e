"""The judging part of a review: sentences that praise or blame, each with a sign asked for.

Every construction takes a sign and works the same way for both, so that praise and blame are
equally likely and equally strong. A judgement is a template like those of plot.py: its sentiment
words are chosen, the slots of the scene ({film}, {actor}, ...) are still open.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, TypeVar

from .lexicon import PAIRS, PIVOT, Pair, Strength, Use

T = TypeVar("T")

_WHOLES: Final = ("the {film}", "the {film}", "this {genre}")
_ASPECTS: Final = (
    "the acting",
    "the script",
    "the music",
    "the story",
    "the ending",
    "the dialogue",
    "the camera work",
    "the first half",
    "the second half",
    "the opening",
    "the cast",
    "the songs",
    "the night scenes",
)
_PLURALS: Final = frozenset({"the songs", "the night scenes"})

_LEADS: Final = ("for me", "in the end", "from the first scene", "after an hour", "this time")
_OTHER_MATTERS: Final = (
    "the budget was small",
    "there were few people in the cinema",
    "the book is very old",
    "we came very late",
    "my {mine} had not read the book",
)

_STRENGTHS_AND_ODDS: Final[tuple[tuple[Strength, ...], tuple[float, ...]]] = (
    ("strong", "medium", "weak"),
    (0.3, 0.5, 0.2),
)
_MODIFIERS: Final[Mapping[Strength, tuple[str, ...]]] = MappingProxyType(
    {
        "strong": ("truly",),
        "medium": ("very", "very", "truly", "quite", "rather"),
        "weak": ("quite", "rather"),
    }
)
_MODIFIED: Final = 0.3
_NEGATED: Final = 0.2
_TWO: Final = 0.15


class Critic:
    """Chooses the words of one review's judgements; no word or phrase is used twice."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def judge(self, sign: int, *, whole: bool) -> str:
        """Returns a judging sentence of the sign, on the film as a whole or one aspect of it."""
        subject = self._pick(_WHOLES) if whole else self._aspect()
        (shape,) = self._rng.choices(*_SHAPES_AND_ODDS)
        return shape(self, subject, sign)

    # The shapes of a judging sentence.

    def state(self, subject: str, sign: int) -> str:
        """Returns e.g. "the acting is not very good" or "the film is a joy"."""
        draw = self._rng.random()
        if draw < 0.12 and subject not in _PLURALS and self._unused("predicate"):
            return f"{subject} {self._predicate(sign)}"
        if draw < 0.3 and subject in _WHOLES:
            return f"{subject} is {self._noun(sign)}"
        return f"{subject} {_is(subject)} {self._adjectives(sign)}"

    def lead_in(self, subject: str, sign: int) -> str:
        """Returns e.g. "in the end, the script is clever"."""
        return f"{self._fresh(_LEADS)}, {self.state(subject, sign)}"

    def find(self, subject: str, sign: int) -> str:
        """Returns e.g. "I found the music rather flat"."""
        return f"I found {subject} {self._adjective(sign)}"

    def feel(self, subject: str, sign: int) -> str:
        """Returns e.g. "I truly loved the ending"."""
        pair = self._pair("verb")
        modifier = self._modifier(("truly", "rather", "quite"))
        return f"I {modifier}{pair.word(sign)} {subject}"

    def perform(self, subject: str, sign: int) -> str:
        """Returns e.g. "Lind is superb as Nora", a judgement of a player instead of the subject."""
        del subject
        part = self._pick(("{name}", "the {role}"))
        return f"{{actor}} is {self._adjective(sign, 'strong')} as {part}"

    def announce(self, subject: str, sign: int) -> str:
        """Returns e.g. "Novak has made a dull film"; the subject is the film anyway."""
        del subject
        adjective = self._pair("adjective").word(sign)
        opening = self._pick(("this is", "{director} has made", "we saw"))
        return f"{opening} {_with_article(adjective)} {self._pick(('{film}', '{genre}'))}"

    def turn(self, subject: str, sign: int) -> str:
        """Returns e.g. "the acting is good but the ending is dull": the second clause decides.

        The first is worth at most 0.4 * 1.5 * 1.0 = 0.6, the second never less than 1.
        """
        mild: Strength = self._pick(("medium", "weak"))
        before = self._negated(-sign) if self._chance(_NEGATED) else self._adjective(-sign, mild)
        firm = self._pair("adjective", self._pick(("strong", "medium", "medium"))).word(sign)
        after = f"{self._modifier(('truly',))}{firm}"
        other = self._aspect()
        comma = self._pick(("", ","))
        return f"{subject} {_is(subject)} {before}{comma} {PIVOT} {other} {_is(other)} {after}"

    def concede(self, subject: str, sign: int) -> str:
        """Returns a judgement that something else plays down: "..., but the budget was small"."""
        return f"{self.state(subject, sign)}, {PIVOT} {self._fresh(_OTHER_MATTERS)}"

    def insist(self, subject: str, sign: int) -> str:
        """Returns a judgement after a "but" that turns nothing: "we came very late, but ..."."""
        return f"{self._fresh(_OTHER_MATTERS)}, {PIVOT} {self.state(subject, sign)}"

    # Their parts.

    def _adjectives(self, sign: int) -> str:
        draw = self._rng.random()
        if draw < _NEGATED:
            return self._negated(sign)
        if draw < _NEGATED + _TWO:
            first, second = self._pair("adjective", "medium"), self._pair("adjective", "medium")
            return f"{first.word(sign)} and {second.word(sign)}"
        return self._adjective(sign)

    def _adjective(self, sign: int, strength: Strength | None = None) -> str:
        pair = self._pair("adjective", strength)
        return f"{self._modifier(_MODIFIERS[pair.strength])}{pair.word(sign)}"

    def _negated(self, sign: int) -> str:
        """Returns e.g. "not dull" for a positive sign: mild praise."""
        opposite = self._pair("adjective", "medium").word(-sign)
        return f"{self._pick(('not', 'not', 'hardly'))} {self._modifier(('very',))}{opposite}"

    def _noun(self, sign: int) -> str:
        pair = self._pair("noun")
        if self._chance(_NEGATED):
            return f"{self._pick(('not', 'hardly'))} a {pair.word(-sign)}"
        return f"{self._modifier(('truly', 'rather'))}a {pair.word(sign)}"

    def _predicate(self, sign: int) -> str:
        pair = self._pair("predicate")
        return f"never {pair.word(-sign)}" if self._chance(_NEGATED) else pair.word(sign)

    def _modifier(self, options: Sequence[str]) -> str:
        """Returns an intensifier and a space, more often nothing."""
        return f"{self._pick(options)} " if self._chance(_MODIFIED) else ""

    def _aspect(self) -> str:
        return self._fresh(_ASPECTS)

    def _fresh(self, options: Sequence[str]) -> str:
        """Returns an option that this review has not used yet."""
        choice = self._pick([option for option in options if option not in self._used])
        self._used.add(choice)
        return choice

    def _pair(self, use: Use, strength: Strength | None = None) -> Pair:
        """Returns a pair of opposites, neither of which this review has used yet."""
        if strength is None:
            (strength,) = self._rng.choices(*_STRENGTHS_AND_ODDS)
        unused = self._unused(use)
        pair = self._pick([pair for pair in unused if pair.strength == strength] or unused)
        self._used.add(pair.positive)
        return pair

    def _unused(self, use: Use) -> list[Pair]:
        return [pair for pair in PAIRS[use] if pair.positive not in self._used]

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self._rng.random() * len(options))]

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability


def _is(subject: str) -> str:
    return "are" if subject in _PLURALS else "is"


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


SHAPE_ODDS: Final[Mapping[Callable[[Critic, str, int], str], float]] = MappingProxyType(
    {
        Critic.state: 0.3,
        Critic.turn: 0.16,
        Critic.find: 0.12,
        Critic.feel: 0.12,
        Critic.lead_in: 0.08,
        Critic.perform: 0.08,
        Critic.announce: 0.06,
        Critic.insist: 0.05,
        Critic.concede: 0.03,
    }
)
"""How often each shape is chosen, of the whole."""

_SHAPES_AND_ODDS: Final = (tuple(SHAPE_ODDS), tuple(SHAPE_ODDS.values()))
