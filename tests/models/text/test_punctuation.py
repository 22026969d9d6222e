"""Which tokens are punctuation, in vocabularies that write the same text in different ways."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from abcrl.models import encode_plain, punctuation_ids, train_tokenizer
from tests.models.text.tokenizer_families import CORPUS, FAMILIES, tokenizer_of

TRAINED = sorted(set(FAMILIES) - {"gpt2"})


def words_of(family: str) -> set[str]:
    """The punctuation of a vocabulary, as the vocabulary spells it."""
    tokenizer = tokenizer_of(family)
    return set(tokenizer.convert_ids_to_tokens(punctuation_ids(tokenizer)))


@pytest.mark.parametrize("family", FAMILIES)
def test_marks_are_punctuation_and_words_are_not(family):
    tokenizer = tokenizer_of(family)
    found = set(punctuation_ids(tokenizer))
    ids = encode_plain(tokenizer, "The plot was good, and the acting was not.")
    shown = {str(tokenizer.decode([each])).strip() for each in found.intersection(ids)}
    # Where "d," is a token, that one is a part of a word.
    assert {"."} <= shown <= {",", "."}
    assert len(found) < len(tokenizer) / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_and_white_space_are_none(family):
    tokenizer = tokenizer_of(family)
    found = set(punctuation_ids(tokenizer))
    assert found.isdisjoint(tokenizer.all_special_ids)
    assert found.isdisjoint(
        token_id
        for token, token_id in tokenizer.get_vocab().items()
        if not tokenizer.convert_tokens_to_string(["x", token]).removeprefix("x").strip()
    )


def test_ids_come_in_order():
    ids = punctuation_ids(tokenizer_of("byte-level"))
    assert ids == sorted(set(ids))
    assert all(isinstance(each, int) for each in ids)


def test_how_a_vocabulary_writes_a_space_or_a_continuation_is_no_punctuation():
    # The marks themselves are symbols to Unicode: ▁ is S, # is P.
    assert "▁" in tokenizer_of("unigram").get_vocab()
    assert "▁" not in words_of("unigram")
    assert "▁🙂" in words_of("unigram")
    assert "##👍" in words_of("wordpiece")
    assert {".", ",", "'"} <= words_of("wordpiece")
    assert not any(word.removeprefix("##").isalnum() for word in words_of("wordpiece"))


def test_a_byte_token_is_what_its_byte_is():
    words = words_of("byte-fallback")
    assert {"<0x21>", "<0x2E>", "<0x7E>"} <= words  # ! . ~
    assert words.isdisjoint({"<0x41>", "<0x30>", "<0x20>", "<0x0A>", "<0x00>"})  # A 0 space newline


def test_a_part_of_a_character_is_none():
    # 🙂 is F0 9F 99 82 in UTF-8, of which byte-level vocabularies have every byte and, here, all.
    tokenizer = tokenizer_of("byte-level")
    found = set(punctuation_ids(tokenizer))
    parts = {tokenizer.get_vocab()[letter] for letter in "ðŁĻĤ"}
    assert found.isdisjoint(parts)
    assert tokenizer.get_vocab()["ĠðŁĻĤ"] in found
    assert words_of("byte-fallback").isdisjoint({"<0xF0>", "<0x9F>", "<0x99>", "<0x82>"})


def test_white_space_around_it_is_allowed_and_letters_beside_it_are_not():
    tokenizer = train_tokenizer(["Yes .\n\nNo .\n\nSo ...\n\nWell 's' a1 "] * 50, 400)
    tokenizer.add_tokens(
        [AddedToken(text, normalized=False) for text in [" .\n\n", ". .", ".a", "1."]]
    )
    words = {tokenizer.decode([each]) for each in punctuation_ids(tokenizer)}
    assert {".", " .\n\n", ". .", "'"} <= words
    assert words.isdisjoint({".a", "1.", "\n\n", " ", "s"})


def test_a_special_token_made_of_marks_is_none():
    tokenizer = copy.deepcopy(tokenizer_of("byte-level"))
    tokenizer.add_tokens([AddedToken("***", special=True)])
    tokenizer.add_tokens(["%%%"])
    words = {tokenizer.decode([each]) for each in punctuation_ids(tokenizer)}
    assert "%%%" in words
    assert "***" not in words


@pytest.mark.parametrize("family", TRAINED)
@given(text=st.text(st.sampled_from("".join(sorted(set(CORPUS[0])))), max_size=30))
def test_a_text_without_marks_has_no_such_token_and_marks_alone_have_others_only_for_spaces(
    family, text
):
    tokenizer = tokenizer_of(family)
    found = set(punctuation_ids(tokenizer))
    letters = "".join(c for c in text if c.isalnum() or c.isspace())
    assert found.isdisjoint(encode_plain(tokenizer, letters))
    marks = "".join(c for c in text if not c.isalnum() and not c.isspace())
    others = set(encode_plain(tokenizer, marks)) - found
    assert all(not str(tokenizer.decode([each])).strip() for each in others)
