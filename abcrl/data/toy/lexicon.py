"""The words that decide what a toy review thinks, and how much each of them weighs.

Sentiment words come in pairs of opposites with the same weight and the same use in a sentence, so
that praise and blame are equally strong: swapping every word for its opposite flips the sign of a
text's gold score and nothing else. All these words are lower case and none of them is used by the
neutral sentences (plot.py), except the modifiers and "but", which decide nothing on their own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Use = Literal["adjective", "verb", "predicate", "noun"]
Strength = Literal["strong", "medium", "weak"]

STRENGTHS: Final[Mapping[Strength, float]] = MappingProxyType(
    {"strong": 1.5, "medium": 1.0, "weak": 0.5}
)


class Pair(NamedTuple):
    """Two opposites that fit the same place in a sentence and weigh the same."""

    positive: str
    negative: str
    strength: Strength

    def word(self, sign: int) -> str:
        """Returns the praising word for a positive sign, the blaming word otherwise."""
        return self.positive if sign > 0 else self.negative


# By use: "the acting is ADJECTIVE", "I VERB the acting", "the acting PREDICATE", "it is a NOUN".
PAIRS: Final[Mapping[Use, tuple[Pair, ...]]] = MappingProxyType(
    {
        "adjective": (
            Pair("superb", "awful", "strong"),
            Pair("wonderful", "terrible", "strong"),
            Pair("brilliant", "dreadful", "strong"),
            Pair("perfect", "hopeless", "strong"),
            Pair("good", "bad", "medium"),
            Pair("lively", "dull", "medium"),
            Pair("clever", "clumsy", "medium"),
            Pair("fresh", "stale", "medium"),
            Pair("charming", "boring", "medium"),
            Pair("sharp", "flat", "medium"),
            Pair("decent", "weak", "weak"),
            Pair("solid", "thin", "weak"),
            Pair("pleasant", "bland", "weak"),
        ),
        "verb": (
            Pair("loved", "hated", "strong"),
            Pair("liked", "disliked", "medium"),
            Pair("enjoyed", "resented", "medium"),
        ),
        "predicate": (
            Pair("works", "fails", "medium"),
            Pair("delights", "grates", "medium"),
        ),
        "noun": (
            Pair("triumph", "failure", "strong"),
            Pair("gem", "mess", "strong"),
            Pair("joy", "bore", "medium"),
        ),
    }
)

VALENCES: Final[Mapping[str, float]] = MappingProxyType(
    {
        pair.word(sign): sign * STRENGTHS[pair.strength]
        for pairs in PAIRS.values()
        for pair in pairs
        for sign in (1, -1)
    }
)
"""The signed weight of every sentiment word, e.g. superb 1.5, dull -1.0."""

NEGATION: Final = -0.5
"""What a negator multiplies a word by: "not dull" is mild praise, half as strong as "lively"."""

NEGATORS: Final = frozenset({"not", "never", "hardly"})

INTENSIFIERS: Final[Mapping[str, float]] = MappingProxyType(
    {"very": 1.5, "truly": 1.5, "quite": 0.75, "rather": 0.75}
)

PIVOT: Final = "but"
PIVOT_WEIGHT: Final = 0.4
"""What is left of the words that stand before the last "but" of their sentence."""
