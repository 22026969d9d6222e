"""Whole reviews: what is told, what is judged, in which order, and the label that follows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from random import Random
from typing import Final

from abcrl.config import stream_seed

from .gold import gold_score
from .judgement import Critic
from .plot import HERO_SENTENCES, SENTENCES, draw_scene, write

LABEL_SHARPNESS: Final = 1.5
"""k in P(label = 1) = sigmoid(k * gold).

So a calibrated classifier's logit difference is k * gold: graded, never saturated. Whoever knows
the gold score gets 87 % of the labels right, and nobody can do better (the Bayes accuracy).
"""

DEFAULT_COUNT: Final = 24_000
"""How many reviews a run generates if it does not say otherwise."""

_WORDS: Final = (36, 42)
"""The range of words that a review aims at; it stops when no more than _SLACK are missing."""
_SLACK: Final = 3
_REPORT: Final = tuple(sentence for topic in SENTENCES.values() for sentence in topic)


@dataclass(frozen=True)
class Review:
    """One generated review.

    Attributes:
        text: A few English sentences, ASCII.
        label: 1 positive, 0 negative: a coin weighted by the text's gold score.
    """

    text: str
    label: int


def generate_reviews(count: int, *, seed: int) -> list[Review]:
    """Returns `count` reviews with distinct texts; a shorter list is the beginning of a longer one.

    Each review has its own random stream, drawn from the seed and its index; a text that an earlier
    review already has is drawn again.

    Raises:
        ValueError: The count is negative.
    """
    if count < 0:
        raise ValueError(f"count: must be 0 or more, received {count}; give the number of reviews")
    return [review for review, _ in islice(_reviews(seed), count)]


def generate_pairs(count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """Yields `count` pairs of consecutive reviews, the one with the higher gold score first.

    Reviews whose gold scores are equal make no pair. No review is in two pairs.
    """
    reviews = _reviews(seed)
    while count > 0:
        (first, gold), (second, other) = next(reviews), next(reviews)
        if gold != other:
            count -= 1
            yield (first.text, second.text) if gold > other else (second.text, first.text)


def _reviews(seed: int) -> Iterator[tuple[Review, float]]:
    """Yields distinct reviews without end, each with its gold score."""
    seen: set[str] = set()
    for index in count_from(0):
        attempt = 0
        while (drawn := _draw_review(seed, index, attempt))[0].text in seen:
            attempt += 1
        seen.add(drawn[0].text)
        yield drawn


def _draw_review(seed: int, index: int, attempt: int) -> tuple[Review, float]:
    rng = Random(stream_seed(seed, "toy-review", index, attempt))
    text = _write_text(rng)
    gold = gold_score(text)
    positive = 1.0 / (1.0 + math.exp(-LABEL_SHARPNESS * gold))
    return Review(text, int(rng.random() < positive)), gold


def _write_text(rng: Random) -> str:
    scene = draw_scene(rng)
    judgements = _draw_judgements(rng)
    words = rng.randint(*_WORDS) - sum(_count_words(judgement) for judgement in judgements)
    sentences = _draw_report(rng, words)
    main, *others = judgements
    sentences.insert(_main_place(rng, len(sentences)), main)
    for other in others:
        sentences.insert(rng.randint(0, len(sentences)), other)
    return write(sentences, scene)


def _draw_judgements(rng: Random) -> list[str]:
    """Returns one to three judging sentences, the main one first; most share its sign."""
    critic = Critic(rng)
    sign = rng.choice((1, -1))
    (others,) = rng.choices((0, 1, 2), (0.25, 0.5, 0.25))
    judgements = [critic.judge(sign, whole=rng.random() < 0.6)]
    for _ in range(others):
        agrees = rng.random() < 0.75
        judgements.append(critic.judge(sign if agrees else -sign, whole=False))
    return judgements


def _main_place(rng: Random, sentences: int) -> int:
    """Returns where the main judgement goes: more often than not early, else anywhere."""
    if rng.random() < 0.5:
        return min(sentences, rng.choice((0, 1, 1, 2)))
    return rng.randint(0, sentences)


def _draw_report(rng: Random, words: int) -> list[str]:
    """Returns neutral sentences of about that many words, topic by topic, the plot in order."""
    hero = rng.choice(HERO_SENTENCES)
    told: set[str] = set()
    left = words - _count_words(hero)
    while left > _SLACK:
        sentence = rng.choice(_REPORT)
        if sentence not in told:
            told.add(sentence)
            left -= _count_words(sentence)
    blocks = [[line for line in SENTENCES[topic] if line in told] for topic in SENTENCES]
    blocks[0].insert(0, hero)
    rng.shuffle(blocks)
    return [sentence for block in blocks for sentence in block]


def _count_words(template: str) -> int:
    return template.count(" ") + 1
