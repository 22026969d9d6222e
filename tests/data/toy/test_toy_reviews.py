"""The generated reviews: readable, distinct, balanced, and as long and as sparse as promised."""

import math
import re
from collections import Counter
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from abcrl.data.toy import (
    DEFAULT_COUNT,
    LABEL_SHARPNESS,
    Review,
    causal_spans,
    generate_reviews,
    gold_score,
)
from abcrl.data.toy.judgement import SHAPE_ODDS, Critic
from abcrl.data.toy.lexicon import VALENCES
from abcrl.data.toy.plot import HERO_SENTENCES, SENTENCES, draw_scene, write

WORD = re.compile(r"[A-Za-z]+")


@pytest.fixture(scope="module")
def reviews():
    return generate_reviews(DEFAULT_COUNT, seed=0)


@pytest.fixture(scope="module")
def some_texts(reviews):
    return [review.text for review in reviews[:3000]]


@pytest.fixture(scope="module")
def encodings(reviews, some_texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=768, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([review.text for review in reviews[:5000]], trainer)
    return tokenizer.encode_batch(some_texts)


def is_sentiment(word: str) -> bool:
    return word.lower() in VALENCES


def test_texts_are_distinct(reviews):
    assert len({review.text for review in reviews}) == len(reviews) == DEFAULT_COUNT


def test_same_seed_same_reviews_and_a_short_list_begins_a_long_one(reviews):
    assert generate_reviews(50, seed=0) == reviews[:50]
    assert generate_reviews(50, seed=1) != reviews[:50]
    assert generate_reviews(0, seed=0) == []


def test_the_first_review_never_changes_unnoticed():
    # A change of grammar or lexicon changes every toy run: this line makes it a decision.
    text = (
        "This comedy is truly perfect. I found the camera work sharp. We watched the "
        "movie at home on a Sunday night. A lawyer called Hugo comes to Lisbon to find "
        "his brother. A writer leaves on the last train."
    )
    assert generate_reviews(1, seed=0) == [Review(text, 1)]


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count: must be 0 or more, received -1"):
        generate_reviews(-1, seed=0)


def test_texts_are_plain_sentences(reviews):
    sentence = r"[A-Z][A-Za-z]*(,? [A-Za-z]+)*\."
    for review in reviews:
        assert re.fullmatch(rf"{sentence}( {sentence})*", review.text)
        assert not re.search(r"\b(a [aeiou]|an [^aeiouh])", review.text, re.IGNORECASE)


def test_no_word_of_judgement_is_used_twice_in_a_review(some_texts):
    for text in some_texts:
        judging = Counter(word.lower() for word in WORD.findall(text) if is_sentiment(word))
        assert max(judging.values()) == 1


def test_the_inventory_is_compact(reviews):
    types = Counter(word.lower() for r in reviews for word in WORD.findall(r.text))
    assert 250 <= len(types) <= 350
    assert set(VALENCES) <= set(types)


def test_neutral_sentences_decide_nothing():
    templates = [*HERO_SENTENCES, *(line for topic in SENTENCES.values() for line in topic)]
    for seed in range(20):
        scene = draw_scene(Random(seed))
        assert all(causal_spans(write([line], scene)) == [] for line in templates)


@pytest.mark.parametrize("shape", SHAPE_ODDS, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_judgement_has_the_sign_it_was_asked_for(shape, sign):
    for seed in range(300):
        rng = Random(seed)
        text = write([shape(Critic(rng), "the acting", sign)], draw_scene(rng))
        assert 0.1 < sign * gold_score(text) < 3, text


@pytest.mark.parametrize("shape", SHAPE_ODDS, ids=lambda shape: shape.__name__)
def test_praise_and_blame_are_built_alike(shape):
    for seed in range(100):
        praise, blame = (
            write([shape(Critic(Random(seed)), "the {film}", sign)], draw_scene(Random(seed)))
            for sign in (1, -1)
        )
        assert gold_score(praise) == pytest.approx(-gold_score(blame))


def test_every_causal_word_decides(some_texts):
    for text in some_texts:
        for start, end in causal_spans(text):
            hidden = text[:start] + "z" * (end - start) + text[end:]
            assert abs(gold_score(hidden) - gold_score(text)) > 0.01


def test_gold_is_balanced_and_graded(reviews):
    gold = [gold_score(review.text) for review in reviews]
    size = sorted(map(abs, gold))
    assert abs(fmean(gold)) < 0.05  # standard error 0.013
    assert 1.6 < pstdev(gold) < 2.2
    assert sum(0.3 <= x <= 3 for x in size) / len(size) > 0.8
    assert len({round(x, 6) for x in gold}) > 500


def test_labels_follow_the_gold_score(reviews):
    gold = [gold_score(review.text) for review in reviews]
    assert fmean(review.label for review in reviews) == pytest.approx(0.5, abs=0.015)
    hits = fmean((x > 0) == (review.label == 1) for x, review in zip(gold, reviews, strict=True))
    bayes = fmean(1 / (1 + math.exp(-LABEL_SHARPNESS * abs(x))) for x in gold)
    assert 0.82 < bayes < 0.9
    assert hits == pytest.approx(bayes, abs=0.015)
    # Calibration where it is least certain: 0.2 < gold < 0.8 is positive with 0.57 to 0.77.
    unsure = [r.label for x, r in zip(gold, reviews, strict=True) if 0.2 < x < 0.8]
    assert fmean(unsure) == pytest.approx(1 / (1 + math.exp(-LABEL_SHARPNESS * 0.5)), abs=0.04)


def test_lengths_in_tokens(encodings):
    lengths = [len(encoding.ids) for encoding in encodings]
    assert 50 < fmean(lengths) < 60
    assert 4 < pstdev(lengths) < 8
    assert fmean(48 <= length <= 64 for length in lengths) > 0.7
    assert min(lengths) > 30
    assert max(lengths) < 90


def test_sentiment_words_are_few(some_texts, encodings):
    words = [word for text in some_texts for word in WORD.findall(text)]
    sentiment = sum(map(is_sentiment, words))
    assert 0.04 < sentiment / len(words) < 0.09
    assert 0.04 < sentiment / sum(len(encoding.ids) for encoding in encodings) < 0.09


def test_openings_vary_and_mostly_give_nothing_away(some_texts, encodings):
    assert len({" ".join(text.split()[:4]) for text in some_texts}) > 500
    openings = (
        text[: encoding.offsets[length - 1][1]]
        for text, encoding in zip(some_texts, encodings, strict=True)
        for length in range(2, 8)
    )
    assert fmean(bool(causal_spans(opening)) for opening in openings) < 0.25


def test_deciding_words_stand_everywhere_and_the_first_one_often_early(some_texts):
    fifths = Counter(
        5 * start // len(text) for text in some_texts for start, _ in causal_spans(text)
    )
    assert min(fifths[part] for part in range(5)) > 0.12 * fifths.total()
    first = Counter(5 * causal_spans(text)[0][0] // len(text) for text in some_texts)
    assert 0.3 < first[0] / first.total() < 0.5
    assert all(first[part] > first[part + 1] > 0 for part in range(4))


def test_but_and_not_also_stand_where_they_decide_nothing(some_texts):
    for word in ("but", "not", "never", "very"):
        idle = total = 0
        for text in some_texts:
            spans = set(causal_spans(text))
            found = [m.span() for m in re.finditer(rf"\b{word}\b", text)]
            total += len(found)
            idle += sum(span not in spans for span in found)
        assert 0.05 < idle / total < 0.95


def test_a_prefix_scores_step_by_step(some_texts):
    # The gold score of a growing text moves only where a deciding word is completed.
    for text in some_texts[:50]:
        ends = {end for _, end in causal_spans(text)}
        for before, after in pairwise(range(len(text) + 1)):
            if gold_score(text[:after]) != gold_score(text[:before]):
                assert after in ends
