"""Byte spans: each generated id stands where the decoder puts it."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from abcrl.config import InputError
from abcrl.models import decode_response, decode_text, encode_plain, token_bytes
from abcrl.models.text.byte_spans import own_bytes
from tests.models.text.tokenizer_families import CORPUS, FAMILIES, TEXTS, ids_of, tokenizer_of

some = settings(max_examples=60)


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def ids_by_name(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


@pytest.mark.parametrize(
    ("family", "tokens", "expected"),
    [
        # Latin-1 letters are bytes here: ð 0xF0, Ł 0x9F (the emoji's first half), ĻĤ 0x99 0x82.
        ("byte-level", ["The", "ð", "Ł", "Ļ", "Ĥ"], [b"The", b"\xf0", b"\x9f", b"\x99", b"\x82"]),
        ("byte-level", ["ð", "<|endoftext|>", "Ł", "a"], [b"\xf0", b"", b"\x9f", b"a"]),
        ("wordpiece", ["the", "##t", "was", "."], [b"the", b"t", b" was", b"."]),
        ("wordpiece", ["##t", "[SEP]", "##t", "[UNK]"], [b"##t", b"", b"t", b""]),
        ("unigram", ["▁", "▁", "w", "</s>", "▁"], [b"", b" ", b"w", b"", b" "]),
        ("byte-fallback", ["▁", "w", "▁", "<0x20>"], [b"", b"w", b" ", b" "]),
        ("byte-fallback", ["<0x20>", "<0x20>", "w"], [b"", b" ", b"w"]),
        ("byte-fallback", ["w", "<0xE4>", "<0xB8>", "<0xAD>"], [b"w", b"\xe4", b"\xb8", b"\xad"]),
        # A run that is no UTF-8 is not shown even in its valid parts.
        ("byte-fallback", ["<0x41>", "<0xE4>"], ["\ufffd".encode()] * 2),
        ("byte-fallback", ["<0xE4>", "w", "<0x41>"], ["\ufffd".encode(), b"w", b"A"]),
    ],
)
def test_tables(family, tokens, expected):
    tokenizer = tokenizer_of(family)
    assert token_bytes(tokenizer, ids_by_name(tokenizer, tokens)) == expected


def test_bytes_of_its_own_has_a_token_that_is_bytes_or_white_space():
    tokens = {"byte-level": ["The", "Ġ"], "unigram": ["w", "▁"], "wordpiece": ["was", "##t"]}
    expected = {"byte-level": [b"The", b" "], "unigram": [b"", b" "], "wordpiece": [b"", b""]}
    for family, names in tokens.items():
        tokenizer = tokenizer_of(family)
        assert own_bytes(tokenizer, ids_by_name(tokenizer, names)) == expected[family]


@pytest.mark.parametrize("family", FAMILIES)
@some
@given(data=st.data())
def test_joined_bytes_are_the_decoded_text(family, data):
    tokenizer = tokenizer_of(family)
    ids = data.draw(ids_of(tokenizer))
    pieces = token_bytes(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert b"".join(pieces).decode(errors="replace") == decode(tokenizer, ids)
    for piece, each in zip(pieces, ids, strict=True):
        if each in tokenizer.all_special_ids:
            assert piece == b""


@pytest.mark.parametrize("family", FAMILIES)
@some
@given(data=st.data())
def test_tokens_tile_the_response(family, data):
    tokenizer = tokenizer_of(family)
    ids = data.draw(ids_of(tokenizer))
    begin = data.draw(st.integers(0, len(ids)))
    ids += data.draw(st.sampled_from([[], [tokenizer.eos_token_id]]))
    response = decode_response(tokenizer, ids[:begin], ids[begin:])
    assert response.prompt + response.text == decode(tokenizer, ids)
    assert len(response.edges) == len(ids) - begin + 1
    assert 0 <= response.edges[0] < 4  # a character that the prompt began
    assert response.edges[-1] == len(response.text.encode())
    assert list(response.edges) == sorted(response.edges)
    assert response.ended == (ids[begin:][-1:] == [tokenizer.eos_token_id])


@pytest.mark.parametrize("family", ["byte-level", "gpt2"])
@some
@given(text=TEXTS)
def test_encoded_text_stands_where_the_tokenizer_says(family, text):
    # Not our arithmetic: the offsets of the library, which name whole characters.
    tokenizer = tokenizer_of(family)
    encoded = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    response = decode_response(tokenizer, [], encoded["input_ids"])
    assert response.text == text
    edges = [int(edge) for edge in response.edges]
    letter_of = [place for place, letter in enumerate(text) for _ in letter.encode()]
    for span, offset in zip(itertools.pairwise(edges), encoded["offset_mapping"], strict=True):
        assert (letter_of[span[0]], letter_of[span[1] - 1] + 1) == offset


def test_a_replacement_character_is_shared_by_the_ids_that_made_it():
    tokenizer = tokenizer_of("byte-level")
    # 0xF0 0x9F begin an emoji that never ends; 0x82 continues nothing; 0xC3 0xA9 is é.
    ids = ids_by_name(tokenizer, ["a", "ð", "Ł", "b", "Ĥ", "Ã", "©", "ð"])
    response = decode_response(tokenizer, [], ids)
    assert response.text == "a\ufffdb\ufffdé\ufffd"
    #                          a    ð    Ł    b  Ĥ  Ã   ©   ð
    assert response.edges == (0, 1, 2.5, 4.0, 5, 8, 9, 10, 13)


def test_three_ids_share_a_replacement_character_evenly():
    tokenizer = tokenizer_of("byte-level")
    response = decode_response(tokenizer, [], ids_by_name(tokenizer, ["ð", "Ł", "Ļ", "a"]))
    assert response.text == "\ufffda"
    assert response.edges == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("prompt", "response", "texts", "edges"),
    [
        # The prompt has begun the emoji: 1 of 4 bytes is not the response's.
        (["a", "ð"], ["Ł", "Ļ", "Ĥ", "b"], ("a", "🙂b"), (1, 2, 3, 4, 5)),
        # The response does not go on with it: each replacement character has one owner.
        (["a", "ð"], ["b"], ("a\ufffd", "b"), (0, 1)),
        # Both have a part in one replacement character.
        (["a", "ð"], ["Ł", "b"], ("a", "\ufffdb"), (1.5, 3, 4)),
        (["a"], [], ("a", ""), (0,)),
    ],
)
def test_a_character_across_the_end_of_the_prompt(prompt, response, texts, edges):
    tokenizer = tokenizer_of("byte-level")
    decoded = decode_response(
        tokenizer, ids_by_name(tokenizer, prompt), ids_by_name(tokenizer, response)
    )
    assert (decoded.prompt, decoded.text) == texts
    assert decoded.edges == edges


@pytest.mark.parametrize("family", ["unigram", "byte-fallback"])
def test_a_response_keeps_the_space_that_it_begins_with(family):
    tokenizer = tokenizer_of(family)
    words = encode_plain(tokenizer, "good")
    assert decode(tokenizer, words) == "good"  # what decoding it alone would give
    response = decode_response(tokenizer, encode_plain(tokenizer, "The plot"), words)
    assert (response.prompt, response.text) == ("The plot", " good")


def test_eos_has_no_text_in_the_middle_or_at_the_end():
    tokenizer = tokenizer_of("byte-level")
    ids = ids_by_name(tokenizer, ["a", "<|endoftext|>", "b", "<|endoftext|>"])
    response = decode_response(tokenizer, [], ids)
    assert (response.text, response.edges, response.ended) == ("ab", (0, 1, 1, 2, 2), True)
    assert not decode_response(tokenizer, [], ids[:3]).ended
    assert not decode_response(tokenizer, ids, []).ended


def test_ids_that_the_tokenizer_does_not_know_have_no_text():
    # Models often have more rows than their tokenizer has tokens, and a policy can write them.
    tokenizer = tokenizer_of("byte-level")
    (a,) = ids_by_name(tokenizer, ["a"])
    assert token_bytes(tokenizer, [a, len(tokenizer) + 5, a]) == [b"a", b"", b"a"]


def test_added_tokens_that_are_not_special_are_text():
    tokenizer: Any = byte_level_with_added_tokens()
    ids = ids_by_name(tokenizer, ["a", "two words", "caf", "é"])
    # é as it is added is the byte 0xE9 to the decoder, which is not é.
    assert token_bytes(tokenizer, ids) == [b"a", b"two words", b"caf", b"\xe9"]
    assert decode(tokenizer, ids) == "atwo wordscaf\ufffd"


def byte_level_with_added_tokens() -> PreTrainedTokenizerBase:
    tokenizer = FAMILIES["byte-level"]()
    tokenizer.add_tokens(["two words", "caf", "é"])
    return tokenizer


def word_level(decoder: Any, tokens: list[str]) -> PreTrainedTokenizerBase:
    vocabulary = {token: number for number, token in enumerate(["<unk>", "</s>", *tokens])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder is not None:
        backend.decoder = decoder
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", name_or_path="words"
    )


@pytest.mark.parametrize(
    ("decoder", "tokens", "expected"),
    [
        # No decoder: transformers puts spaces between.
        (None, ["a", "b", "</s>", "c"], [b"a", b" b", b"", b" c"]),
        # GPT-1's: the end of a word is a space, but at the end of the text.
        (decoders.BPEDecoder("</w>"), ["a", "b</w>", "c</w>"], [b"a", b"b", b" c"]),
        # Repeated tokens are said once.
        (decoders.CTC(pad_token="_", cleanup=False), ["a", "a", "b"], [b"a", b"", b"b"]),
    ],
)
def test_unknown_decoders_are_asked_for_longer_and_longer_parts(decoder, tokens, expected):
    tokenizer = word_level(decoder, sorted(set(tokens) - {"</s>"}))
    assert token_bytes(tokenizer, ids_by_name(tokenizer, tokens)) == expected


def test_a_decoder_that_rewrites_its_text_is_refused_by_name():
    tokenizer = word_level(
        decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c")]), ["a", "b", "x"]
    )
    assert token_bytes(tokenizer, ids_by_name(tokenizer, ["a", "x", "b"])) == [b"a", b"x", b"b"]
    with pytest.raises(InputError) as refused:
        token_bytes(tokenizer, ids_by_name(tokenizer, ["x", "a", "b"]))
    assert str(refused.value).startswith(
        "policy: the tokenizer must add to its text and not rewrite it, received words, which "
        "goes back on 'xa'; "
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", CORPUS[:3])
def test_the_slow_way_agrees_with_the_vocabulary(family, text, monkeypatch):
    tokenizer = tokenizer_of(family)
    ids = [*encode_plain(tokenizer, text), tokenizer.eos_token_id]
    fast = token_bytes(tokenizer, ids)
    monkeypatch.setattr("abcrl.models.text.byte_spans._from_vocabulary", lambda *_: None)
    slow = token_bytes(tokenizer, ids)
    assert b"".join(slow) == b"".join(fast)
    # They may differ only inside of characters that several ids make.
    whole = set(itertools.accumulate(len(letter.encode()) for letter in decode(tokenizer, ids)))
    ends = [itertools.accumulate(map(len, pieces)) for pieces in (fast, slow)]
    for fast_end, slow_end in zip(*ends, strict=True):
        assert fast_end == slow_end or fast_end not in whole


def test_decoding_gives_back_the_text_and_no_special_tokens(tiny_tokenizer):
    text = "It isn't  good , is it ?"
    ids = tiny_tokenizer(text)["input_ids"]
    assert decode_text(tiny_tokenizer, [*ids, tiny_tokenizer.eos_token_id]) == text
