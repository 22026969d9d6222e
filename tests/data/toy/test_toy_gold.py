"""The arithmetic of the gold score, worked out by hand, and the words that decide it."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.data.toy import causal_spans, gold_score
from abcrl.data.toy.gold import SENTENCE_BOUND
from abcrl.data.toy.lexicon import INTENSIFIERS, NEGATORS, PAIRS, PIVOT, VALENCES

# Text and the raw sum s of each of its judging sentences, before 3 tanh(s / 3).
HAND_WORKED = [
    ("", []),
    ("Anna finds a letter in the house.", []),
    ("The acting is good.", [1.0]),
    ("The acting is dull.", [-1.0]),
    ("The acting is superb.", [1.5]),
    ("The acting is thin.", [-0.5]),
    ("THE ACTING IS GOOD", [1.0]),
    ("I loved it. I hated it.", [1.5, -1.5]),
    ("The acting is clever and fresh.", [1.0 + 1.0]),
    # Intensifiers: the nearest in reach, one at most.
    ("The acting is very good.", [1.5 * 1.0]),
    ("The acting is rather dull.", [0.75 * -1.0]),
    ("The acting is very very truly good.", [1.5 * 1.0]),
    ("It is rather a very good film.", [1.5 * 1.0]),
    # Negation halves and turns.
    ("The acting is not dull.", [-0.5 * -1.0]),
    ("The acting is not good.", [-0.5 * 1.0]),
    ("The acting is not very good.", [-0.5 * 1.5 * 1.0]),
    ("It is hardly a triumph.", [-0.5 * 1.5]),
    ("The music never grates.", [-0.5 * -1.0]),
    # Out of reach: four words back, another clause, behind another sentiment word.
    ("It is not one of the good films.", [1.0]),
    ("It is not long, and the good ending helps.", [1.0]),
    ("Not good and lively.", [-0.5 * 1.0 + 1.0]),
    ("He does not answer. Superb.", [1.5]),
    # "but": 0.4 for all that comes before the last one of the sentence.
    ("The acting is good but the ending is dull.", [0.4 * 1.0 - 1.0]),
    ("The acting is not dull, but the ending is very bad.", [0.4 * 0.5 - 1.5]),
    ("We came very late, but the acting is good.", [1.0]),
    ("The acting is good, but the budget was small.", [0.4 * 1.0]),
    ("Good but dull but fresh.", [0.4 * 1.0 - 0.4 * 1.0 + 1.0]),
    ("It is not short but good.", [1.0]),
    # The same word again counts 1/2, 1/3, ...
    ("Good. Good. Good.", [1.0, 1 / 2, 1 / 3]),
    ("Good good, GOOD.", [1.0 + 1 / 2 + 1 / 3]),
    ("It is good. It is not good.", [1.0, -0.5 / 2]),
    # Fragments as a model may leave them.
    ("The acting is wonderf", []),
    ("goodness , dullard", []),
    ("  . but not very . !! but", []),
    ("The acting is good but", [0.4 * 1.0]),
    ("The acting is good\nThe ending is dull", [1.0, -1.0]),
]


@pytest.mark.parametrize(("text", "sums"), HAND_WORKED)
def test_gold_score_matches_the_hand_worked_sum(text, sums):
    expected = sum(3 * math.tanh(s / 3) for s in sums)
    assert gold_score(text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("The police search the barn, but the key is not very old.", []),
        ("The acting is not very good.", ["not", "very", "good"]),
        ("The acting is very truly good.", ["truly", "good"]),
        ("It is not one of the good films.", ["good"]),
        ("The acting is good but the ending is rather dull.", ["good", "but", "rather", "dull"]),
        ("We came very late, but the acting is good.", ["good"]),
        ("Good but dull but fresh.", ["Good", "dull", "but", "fresh"]),
        ("Hardly a TRIUMPH. I never saw it.", ["Hardly", "TRIUMPH"]),
    ],
)
def test_causal_spans_hit_exactly_the_deciding_words(text, words):
    assert [text[start:end] for start, end in causal_spans(text)] == words


def test_the_last_but_is_the_pivot():
    text = "Good but dull but fresh."
    assert (text.rindex("but"), text.rindex("but") + 3) in causal_spans(text)
    assert (text.index("but"), text.index("but") + 3) not in causal_spans(text)


def test_a_heap_of_praise_in_one_sentence_stays_below_the_bound():
    praise = [pair.positive for pairs in PAIRS.values() for pair in pairs]
    assert gold_score(" ".join(praise)) < SENTENCE_BOUND + 1e-9
    assert gold_score(". ".join(praise)) > 5 * SENTENCE_BOUND  # the text itself has no bound


def test_repetition_pays_less_each_time():
    scores = [gold_score("The film is superb. " * times) for times in range(12)]
    gains = [after - before for before, after in pairwise(scores)]
    assert all(gain > 0 for gain in gains)
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < gains[0] / 10


def test_lexicon_is_a_set_of_distinct_lower_case_opposites():
    words = [word for pairs in PAIRS.values() for pair in pairs for word in pair[:2]]
    assert len(words) == len(set(words)) == len(VALENCES)
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    assert not set(words) & {*NEGATORS, *INTENSIFIERS, PIVOT}
    for pairs in PAIRS.values():
        for pair in pairs:
            assert VALENCES[pair.positive] == -VALENCES[pair.negative] > 0


WORDS = st.sampled_from(
    ["good", "dull", "Superb", "thin", "not", "never", "very", "rather", "but", "film", "the"]
)
SENTENCES = st.lists(WORDS | st.sampled_from([",", ".", "!"]), max_size=30).map(" ".join)


@given(st.text() | SENTENCES)
def test_any_text_has_a_finite_score_and_spans_of_whole_words(text):
    assert math.isfinite(gold_score(text))
    spans = causal_spans(text)
    assert spans == sorted(set(spans))
    for start, end in spans:
        word = text[start:end].lower()
        assert word in VALENCES or word in NEGATORS or word in INTENSIFIERS or word == PIVOT
    if not spans:
        assert gold_score(text) == 0.0


@given(SENTENCES)
def test_words_outside_the_spans_decide_nothing(text):
    spans = set(causal_spans(text))
    words = re.compile(r"[A-Za-z]+")
    hidden = words.sub(lambda m: m.group() if m.span() in spans else "z" * len(m.group()), text)
    assert gold_score(hidden) == pytest.approx(gold_score(text), abs=1e-12)


@given(SENTENCES)
def test_swapping_every_word_for_its_opposite_flips_the_sign(text):
    opposite = {a: b for p in PAIRS.values() for x in p for a, b in (x[:2], x[1::-1])}
    mirrored = " ".join(opposite.get(word.lower(), word) for word in text.split(" "))
    assert gold_score(mirrored) == pytest.approx(-gold_score(text), abs=1e-12)
