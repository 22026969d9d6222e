"""Where the tokens of a text that a reward model reads stand in it."""

from typing import Any

import pytest
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizerBase

from abcrl.models import (
    DecodedResponse,
    RewardText,
    RewardTokens,
    continue_prompt,
    encode_plain,
    read_response,
)
from abcrl.models.text.reward_text import encode_text
from tests.models.text.tokenizer_families import byte_level, tokenizer_of


def reading_of(tokenizer: PreTrainedTokenizerBase, text: str, prompt: str = "") -> RewardTokens:
    response = DecodedResponse(prompt, text, (0, len(text.encode())), ended=False)
    return read_response(tokenizer, continue_prompt(prompt, text), response)


def spans_of(tokenizer: PreTrainedTokenizerBase, text: str, prompt: str = "") -> list[Any]:
    reading = reading_of(tokenizer, text, prompt)
    tokens = tokenizer.convert_ids_to_tokens(reading.ids)
    return list(zip(tokens, reading.spans, strict=True))


@pytest.mark.parametrize(
    ("family", "prompt", "text", "expected"),
    [
        # Capital letters and accents are gone from the token, and counted in the text.
        ("wordpiece", "", "WAS wás", [("was", (0, 3)), ("was", (4, 8))]),
        # What the normaliser removes belongs to no token.
        ("wordpiece", "", "\x00was\u200b ", [("was", (1, 4))]),
        # A word that it does not know is as long as it is.
        ("wordpiece", "", "漢字 was", [("[UNK]", (0, 3)), ("[UNK]", (3, 6)), ("was", (7, 10))]),
        # One character of the text has become two.
        ("unigram", "a", "ﬁ", [("▁", (-1, 0)), ("a", (-1, 0)), ("f", (0, 3)), ("i", (0, 3))]),
        # The other way round: the library names the first of the two.
        (
            "unigram",
            "a",
            "i\u0308i",
            [("▁", (-1, 0)), ("a", (-1, 0)), ("ï", (0, 1)), ("i", (3, 4))],
        ),
        # Offsets name the whole character for each token that has a part of it.
        ("byte-level", "a", " Ω", [("a", (-1, 0)), ("Ġ", (0, 1)), ("Î", (1, 2)), ("©", (2, 3))]),
        (
            "byte-fallback",
            "a",
            " 漢",
            [
                *[("▁", (-1, 0)), ("a", (-1, 0)), ("▁", (0, 1))],
                *[("<0xE6>", (1, 2)), ("<0xBC>", (2, 3)), ("<0xA2>", (3, 4))],
            ],
        ),
    ],
)
def test_spans_count_the_bytes_of_the_text_as_it_was(family, prompt, text, expected):
    assert spans_of(tokenizer_of(family), text, prompt) == expected


def backend_of(tokenizer: PreTrainedTokenizerBase) -> Any:
    changed: Any = tokenizer
    return changed.backend_tokenizer


def test_spaces_that_offsets_leave_out_are_counted():
    tokenizer = byte_level()
    backend_of(tokenizer).post_processor = processors.ByteLevel(trim_offsets=True)  # RoBERTa's
    offsets = tokenizer("The was  a ", return_offsets_mapping=True)["offset_mapping"]
    assert offsets[1:] == [(4, 7), (8, 8), (9, 9), (9, 10), (11, 11)]
    spans = spans_of(tokenizer, " was  a ", "The")
    expected = [("Ġwas", (0, 4)), ("Ġ", (4, 5)), ("Ġ", (5, 6)), ("a", (6, 7)), ("Ġ", (7, 8))]
    assert spans[1:] == expected


@pytest.mark.parametrize(
    ("normalizer", "text", "expected"),
    [
        (normalizers.NFC(), "e\u0301 was", [("Ã©", (0, 1)), ("Ġwas", (3, 7))]),  # Qwen's
        (
            normalizers.NFD(),
            "ç was",
            [("c", (0, 2)), ("Ì", (0, 2)), ("§", (0, 2)), ("Ġwas", (2, 6))],
        ),
        (normalizers.Lowercase(), "WAS was", [("w", (0, 1)), ("as", (1, 3)), ("Ġwas", (3, 7))]),
        # The w at the place is one of those that were taken out, and not the token's.
        (normalizers.Replace("ww", ""), "wwwx", [("w", (2, 3)), ("x", (3, 4))]),
        (normalizers.Replace("a", ""), "waw was", [("w", (0, 1)), ("w", (2, 3)), ("Ġw", (3, 5))]),
    ],
)
def test_own_bytes_count_only_where_the_text_is_unchanged(normalizer, text, expected):
    tokenizer = byte_level()
    backend_of(tokenizer).normalizer = normalizer
    assert spans_of(tokenizer, text)[: len(expected)] == expected


def test_a_space_that_is_given_the_next_word_s_letter_stands_before_it():
    # T5's tokenizer names the same letter for both: the space would go one token late.
    tokenizer = tokenizer_of("t5")
    offsets = tokenizer("a  b", add_special_tokens=False, return_offsets_mapping=True)
    assert offsets["offset_mapping"] == [(0, 1), (0, 1), (3, 4), (3, 4)]
    assert spans_of(tokenizer, "  b\u3000c", "a") == [
        *[("▁", (-1, 0)), ("a", (-1, 0))],  # no space before it: the letter is all there is
        *[("▁", (0, 2)), ("b", (2, 3))],
        *[("▁", (3, 6)), ("c", (6, 7))],
    ]


def test_the_end_of_text_spelled_out_in_a_response_stays_text():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"unk_token": "<|endoftext|>"})  # as in GPT-2: one token for all
    words = "was<|endoftext|> good"
    text = RewardText(f"<|endoftext|>The {words}<|endoftext|>", 17, 17 + len(words), rendered=True)
    reading = read_response(tokenizer, text, DecodedResponse("", words, (0, 3, 21), ended=True))
    places = [place for place, each in enumerate(reading.ids) if each == tokenizer.eos_token_id]
    assert places == [0, len(reading.ids) - 1]
    assert reading.eos == places[1]
    assert reading.spans[0][0] == -17
    assert (reading.spans[-2][1], reading.spans[-1]) == (len(words), (len(words), len(words) + 13))


OPENED = "<s>user\n"


@pytest.mark.parametrize("family", ["unigram", "byte-fallback", "t5"])
@pytest.mark.parametrize(
    ("prompt", "response"), [("a</s>", "was"), ("a", "</s><s>"), ("<s>", "</s>")]
)
def test_special_tokens_that_prompt_or_response_spell_out_stay_text(family, prompt, response):
    tokenizer = tokenizer_of(family)
    before = f"{OPENED}{prompt}</s>"
    text = RewardText(
        f"{before}{response}</s>",
        start=len(before),
        stop=len(before) + len(response),
        rendered=True,
        words=((len(OPENED), len(OPENED) + len(prompt)),),
    )
    ids, offsets = encode_text(tokenizer, text)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    written = [(0, 3), (len(before) - 4, len(before)), (text.stop, text.stop + 4)]
    found = [place for each, place in zip(ids, offsets, strict=True) if each in special]
    assert found == written
    # What is spelled out is read as it is alone.
    words = encode_plain(tokenizer, prompt)
    assert any(ids[place : place + len(words)] == words for place in range(len(ids)))
