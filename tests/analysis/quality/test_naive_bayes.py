import random
from collections import Counter
from fractions import Fraction
from math import exp, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.analysis.quality.naive_bayes import distinct_words, fit_naive_bayes

# Two positive texts, one negative; "good" counts once in the first. With one added to each count:
#            good fun plot bad   sum
#   positive   3   2    2   1     8
#   negative   1   1    2   2     6
POSITIVE = ["Good, good fun!", "good plot"]
NEGATIVE = ["bad plot"]
BAG = fit_naive_bayes([*POSITIVE, *NEGATIVE], [True, True, False])

WORDS = st.lists(st.sampled_from(["good", "fun", "plot", "bad", "isn't"]), max_size=6)
TEXTS = st.lists(st.tuples(WORDS.map(" ".join), st.booleans()), min_size=1, max_size=8)
# One text of each class in front, so that there is something to learn.
CORPORA = TEXTS.map(lambda texts: [("fun", True), ("bad", False), *texts])


def test_ratios_by_hand():
    assert {word: exp(ratio) for word, ratio in BAG.ratios.items()} == pytest.approx(
        {
            "good": (3 / 8) / (1 / 6),
            "fun": (2 / 8) / (1 / 6),
            "plot": (2 / 8) / (2 / 6),
            "bad": (1 / 8) / (2 / 6),
        }
    )
    assert exp(BAG.prior) == pytest.approx(2)


@pytest.mark.parametrize(
    ("text", "odds"),
    [
        ("good", 2 * 9 / 4),
        ("bad", 2 * 3 / 8),
        ("good bad", 2 * 9 / 4 * 3 / 8),
        ("BAD, bad, bad!", 2 * 3 / 8),
        ("a good one", 2 * 9 / 4),
        # Nothing known: the prior, two positive texts to one.
        ("", 2),
        ("...", 2),
        ("never seen", 2),
        ("好电影", 2),
    ],
)
def test_odds_by_hand(text, odds):
    assert exp(BAG.log_odds(text)) == pytest.approx(odds)


def test_what_speaks_for_neither_side_is_a_tie_exactly():
    bag = fit_naive_bayes(["good plot", "bad plot"], [True, False])
    for text in ["", "plot", "good bad", "unknown"]:
        assert bag.log_odds(text) == 0


def test_texts_without_words_leave_the_prior():
    bag = fit_naive_bayes(["", "!", "?"], [True, False, False])
    assert bag.ratios == {}
    assert bag.log_odds("good") == pytest.approx(log(1 / 2))


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_refused(label):
    with pytest.raises(ValueError, match=f"{2 * label} positive and {2 - 2 * label} negative"):
        fit_naive_bayes(["good", "bad"], [label, label])


def test_each_text_needs_a_label():
    with pytest.raises(ValueError, match="shorter"):
        fit_naive_bayes(["good", "bad"], [True])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD, isn't it?", {"it's", "good", "isn't", "it"}),
        ("'quoted' rock'n'roll '", {"quoted", "rock'n'roll"}),
        ("it\u2019s \u2018good\u2019", {"it\u2019s", "good"}),
        ("ÉTÉ été Straße", {"été", "straße"}),
        ("İstanbul", {"i\u0307stanbul"}),
        ("好电影，很好", {"好电影", "很好"}),  # noqa: RUF001 - a Chinese comma
        ("3.5 of 10", {"3", "5", "of", "10"}),
        # What is left of a letter that a cut went through is no letter.
        ("wor\ufffd", {"wor"}),
        (" \n\t…", set()),
        ("", set()),
    ],
)
def test_words(text, words):
    assert distinct_words(text) == words


@given(CORPORA, WORDS)
def test_odds_are_the_posterior_of_the_generative_model(corpus, words):
    def joint(*, label: bool) -> Fraction:
        texts = [set(text.split()) for text, of in corpus if of == label]
        counts = Counter(word for text in texts for word in text)
        vocabulary = {word for text, _ in corpus for word in text.split()}
        mass = Fraction(len(texts), len(corpus))
        for word in set(words) & vocabulary:
            mass *= Fraction(counts[word] + 1, counts.total() + len(vocabulary))
        return mass

    bag = fit_naive_bayes(*zip(*corpus, strict=True))
    odds = float(joint(label=True) / joint(label=False))
    assert bag.log_odds(" ".join(words)) == pytest.approx(log(odds), abs=1e-12)


@given(CORPORA, WORDS, st.randoms(use_true_random=False))
def test_neither_the_order_of_words_nor_of_texts_matters(corpus, words, draw: random.Random):
    bag = fit_naive_bayes(*zip(*corpus, strict=True))
    again = [(" ".join(draw.sample(t.split(), len(t.split()))), label) for t, label in corpus]
    draw.shuffle(again)
    bag_again = fit_naive_bayes(*zip(*again, strict=True))
    shuffled = " ".join(draw.sample(words, len(words)) + words[:2])
    # Exactly: a number that moved in its last digit could turn a tie.
    assert bag_again.log_odds(shuffled) == bag.log_odds(" ".join(words))


@given(CORPORA, WORDS)
def test_swapped_labels_negate_the_odds(corpus, words):
    texts, labels = zip(*corpus, strict=True)
    swapped = [not label for label in labels]
    text = " ".join(words)
    assert fit_naive_bayes(texts, swapped).log_odds(text) == -fit_naive_bayes(
        texts, labels
    ).log_odds(text)


@given(st.text(), st.text())
def test_any_text_can_be_read(known, text):
    bag = fit_naive_bayes([known, "bad"], [True, False])
    assert isfinite(bag.log_odds(text))
    assert isfinite(bag.log_odds(known))
