"""What is left to learn from once texts are tokens, and what is said where nothing is."""

import pytest

from abcrl.config import InputError
from abcrl.data import Pair
from abcrl.models import TextReader
from abcrl.supervised.texts import PairTexts
from tests.models.text.tokenizer_families import wordpiece

# wordpiece() reads lower case alone.
ALIKE = [Pair(None, f"GOOD {n}", f"good {n}") for n in range(3)]
DIFFERENT = [Pair(None, "the plot was good", f"the plot was not {'good ' * 40}")]


def encode(pairs: list[Pair], max_length: int) -> PairTexts:
    return PairTexts(pairs, TextReader(wordpiece()), max_length)


def test_pairs_that_are_all_alike_in_tokens_are_no_matter_of_length():
    with pytest.raises(InputError) as caught:
        encode(ALIKE, 60)
    assert str(caught.value) == (
        "model: its tokenizer must tell the sides of some pair apart, received 3 pairs whose sides "
        "have the same tokens; give a model whose tokenizer knows what the sides are written in"
    )


def test_pairs_that_differ_and_are_too_long_are_counted_without_those_alike():
    with pytest.raises(InputError) as caught:
        encode([*ALIKE, *DIFFERENT], 20)
    assert str(caught.value) == (
        "training.max_length: some prompt and response must fit together, none of 1 fits 20 "
        "tokens; raise it"
    )


def test_of_pairs_that_fit_those_alike_are_left_out_and_counted():
    texts = encode([*ALIKE, *DIFFERENT], 200)
    assert (texts.pairs, texts.alike, texts.too_long) == (DIFFERENT, 3, 0)
