"""The true sentiment of a text, and the words that truly decide it: arithmetic, no model.

A text is cut into sentences at `. ! ?` and line ends, a sentence into clauses at `, ; :` and "but".
With the weights of lexicon.py:

    gold(text)  =  sum over sentences of  3 tanh(s / 3)
    s           =  sum over the sentence's sentiment words of  v * i * n * p / c

    v  valence of the word: +-1.5, +-1.0 or +-0.5
    i  factor of the nearest intensifier in reach (very, truly 1.5; quite, rather 0.75), else 1
    n  -0.5 if a negator is in reach (not, never, hardly), else 1
    p  0.4 if a "but" comes later in the same sentence, else 1
    c  1 at the word's first use in the text, 2 at its second, 3 at its third, ...

"In reach" means among the three words before the sentiment word, in its clause, and after the
clause's previous sentiment word. "not very good" is 1.0 * 1.5 * -0.5 = -0.75; "The acting is good
but the ending is dull." has s = 0.4 * 1.0 - 1.0 = -0.6.

Two terms keep a policy from earning without end by repeating itself: one sentence is worth less
than 3 however many words of praise are piled into it (tanh bends late: s = 1 gives 0.96), and the
same word again counts less each time. Nothing bounds the text as a whole, so the score stays graded
from one sentence to the next. Words are compared in lower case and as a whole: a word cut in the
middle ("wonderf") is worth nothing, and a text without sentiment words is worth 0.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from .lexicon import (
    INTENSIFIERS,
    NEGATION,
    NEGATORS,
    PIVOT,
    PIVOT_WEIGHT,
    VALENCES,
)

SENTENCE_BOUND: Final = 3.0
"""What a single sentence can approach, in either direction."""

REACH: Final = 3
"""How many words back a sentiment word looks for its negator and its intensifier."""

_SENTENCE = re.compile(r"[^.!?\n\r]+")
_WORD_OR_MARK = re.compile(r"[^\W\d_]+|[,;:]")
_SENTIMENT_WORDS = frozenset(VALENCES)
_CLAUSE_ENDS = frozenset((",", ";", ":", PIVOT))


class _Token(NamedTuple):
    """A word in lower case, or a punctuation mark, and its place in the text."""

    text: str
    span: tuple[int, int]


class _Cue(NamedTuple):
    """One sentiment word, the words that act on it, and what they are worth together."""

    word: _Token
    acting: tuple[_Token, ...]
    value: float


def gold_score(text: str) -> float:
    """Returns the sentiment of any text: positive for praise, 0.0 where nothing is judged."""
    uses: Counter[str] = Counter()
    total = 0.0
    for sentence in _judging_sentences(text):
        strength = 0.0
        for cue in _find_cues(sentence):
            uses[cue.word.text] += 1
            strength += cue.value / uses[cue.word.text]
        total += SENTENCE_BOUND * math.tanh(strength / SENTENCE_BOUND)
    return total


def causal_spans(text: str) -> list[tuple[int, int]]:
    """Returns `[start, end)` of each word that the gold score depends on, in reading order.

    These are the sentiment words, the negator and intensifier that act on them, and the last "but"
    of a sentence that has a sentiment word before it. A "not" or "but" that touches no sentiment
    word decides nothing and is left out.
    """
    spans = {
        token.span
        for sentence in _judging_sentences(text)
        for cue in _find_cues(sentence)
        for token in (cue.word, *cue.acting)
    }
    return sorted(spans)


def _judging_sentences(text: str) -> Iterator[list[_Token]]:
    """Yields the tokens of each sentence that has a sentiment word; the others decide nothing."""
    for sentence in _SENTENCE.finditer(text):
        words = _WORD_OR_MARK.findall(text, *sentence.span())
        if not _SENTIMENT_WORDS.isdisjoint(map(str.lower, words)):
            matches = _WORD_OR_MARK.finditer(text, *sentence.span())
            yield [_Token(match.group().lower(), match.span()) for match in matches]


def _find_cues(sentence: list[_Token]) -> Iterator[_Cue]:
    """Yields the sentiment words of one sentence, each with what acts on it."""
    pivot = max((at for at, token in enumerate(sentence) if token.text == PIVOT), default=-1)
    clause: list[_Token] = []  # the words that may still act on the next sentiment word
    for at, token in enumerate(sentence):
        if token.text in VALENCES:
            turned = [sentence[pivot]] if at < pivot else []
            yield _weigh(token, clause[-REACH:], turned)
            clause = []
        elif token.text in _CLAUSE_ENDS:
            clause = []
        else:
            clause.append(token)


def _weigh(word: _Token, reach: list[_Token], turned: list[_Token]) -> _Cue:
    """Returns `v * i * n * p` of one sentiment word and the tokens that enter the product."""
    intensifier = [token for token in reach if token.text in INTENSIFIERS][-1:]
    negator = [token for token in reach if token.text in NEGATORS][-1:]
    value = VALENCES[word.text]
    for token in intensifier:
        value *= INTENSIFIERS[token.text]
    if negator:
        value *= NEGATION
    if turned:
        value *= PIVOT_WEIGHT
    return _Cue(word, (*negator, *intensifier, *turned), value)
