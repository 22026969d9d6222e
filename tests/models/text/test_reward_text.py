"""What a reward model with its own tokenizer reads, and where its tokens stand."""

import copy
from typing import Any

import pytest
import torch
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import (
    DecodedResponse,
    RewardTokens,
    RewardText,
    byte_overlap,
    continue_prompt,
    decode_response,
    encode_plain,
    read_response,
    read_responses,
)
from tests.models.text.tokenizer_families import byte_level, tokenizer_of

# un|happy| end|EOS behind the prompt "So:".
UNHAPPY = DecodedResponse("So:", "unhappy end", (0, 2, 7, 11, 11), ended=True)


def overlap_of(
    spans: list[tuple[int, int]], eos: int | None = None, response: DecodedResponse = UNHAPPY
) -> list[list[float]]:
    return byte_overlap(response, RewardTokens([0] * len(spans), spans, eos)).tolist()


def test_overlap_is_counted_in_bytes():
    spans = [(-1, -1), (-3, 0), (0, 4), (4, 7), (7, 8), (8, 11), (-1, -1)]
    assert overlap_of(spans, eos=6) == [
        [0, 0, 0, 0],  # BOS
        [0, 0, 0, 0],  # So:
        [2, 2, 0, 0],  # unha
        [0, 3, 0, 0],  # ppy
        [0, 0, 1, 0],  # the space
        [0, 0, 3, 0],  # end
        [0, 0, 0, 1],  # EOS
    ]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 11), [2, 5, 4, 0]),  # all in one
        ((-3, 3), [2, 1, 0, 0]),  # begins in the prompt: what is the response's counts
        ((8, 15), [0, 0, 3, 0]),  # ends in the template
        ((11, 15), [0, 0, 0, 0]),  # template
        ((5, 5), [0, 1, 0, 0]),  # nothing, in the middle of happy
        ((7, 7), [0, 1, 0, 0]),  # nothing, behind it
        ((11, 11), [0, 0, 1, 0]),  # nothing, at the end
        ((0, 0), [0, 0, 0, 0]),  # nothing, behind the prompt
        ((12, 12), [0, 0, 0, 0]),
    ],
)
def test_the_overlap_of_one_token(span, expected):
    assert overlap_of([span]) == [expected]


def test_overlap_with_parts_of_a_replacement_character():
    response = DecodedResponse("", "\ufffda", (0, 1.5, 3, 4), ended=False)
    assert overlap_of([(0, 3), (3, 4)], response=response) == [[1.5, 1.5, 0], [0, 0, 1]]


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


LLAMA = (
    "{{ bos_token }}{% for turn in messages %}"
    "{% if turn.role == 'user' %}[INST] {{ turn.content }} [/INST]"
    "{% else %} {{ turn.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def with_bos(family: str) -> PreTrainedTokenizerBase:
    """A copy that begins every text with <s> and has a chat template that does so too."""
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = LLAMA
    backend_of(tokenizer).post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.get_vocab()["<s>"])]
    )
    return tokenizer


def render_chat(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> RewardText:
    """What a caller writes: the places follow from the template, not from a search."""
    turns = [{"role": "user", "content": prompt}]
    before = str(tokenizer.apply_chat_template(turns, tokenize=False)) + " "
    turns.append({"role": "assistant", "content": response})
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return RewardText(text, len(before), len(before) + len(response), rendered=True)


@pytest.mark.parametrize("family", ["unigram", "byte-fallback"])
@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("response", ["was good", "a </s> of <s>"])
def test_bos_and_eos_are_there_once(family, rendered, response):
    # The policy can write special tokens as text; and in a template they must not double.
    tokenizer = with_bos(family)
    ids = [*encode_plain(tokenizer_of("byte-level"), response), 0]
    decoded = decode_response(tokenizer_of("byte-level"), [], ids)
    text = (
        render_chat(tokenizer, "The <plot>", response)
        if rendered
        else continue_prompt("The <s> plot ", response)
    )
    reading = read_response(tokenizer, text, decoded)
    assert reading.ids[0] == tokenizer.bos_token_id
    assert reading.ids.count(tokenizer.bos_token_id) == 1
    assert reading.ids.count(tokenizer.eos_token_id) == 1
    assert reading.eos == len(reading.ids) - 1
    assert reading.ids[reading.eos] == tokenizer.eos_token_id
    # EOS to EOS, BOS and prompt to nothing, and all of the response to something.
    overlap = byte_overlap(decoded, reading)
    assert overlap[-1].tolist() == [0] * (len(ids) - 1) + [1]
    assert overlap[0].sum() == 0
    assert (overlap.sum(0) > 0).all()


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


@pytest.mark.parametrize("rendered", [False, True])
def test_a_response_without_eos_has_none_to_receive(rendered):
    tokenizer = with_bos("unigram")
    text = render_chat(tokenizer, "The", "was") if rendered else continue_prompt("The ", "was")
    reading = read_response(tokenizer, text, DecodedResponse("The ", "was", (0, 3), ended=False))
    assert reading.eos is None
    # The template closes the turn all the same: its token, which takes its attention with it.
    assert reading.ids.count(tokenizer.eos_token_id) == rendered


def test_a_template_of_plain_words():
    tokenizer = tokenizer_of("byte-level")
    before, after = "###Human: The plot ###Assistant: ", "\n###"
    text = RewardText(f"{before}was{after}", len(before), len(before) + 3)
    reading = read_response(tokenizer, text, DecodedResponse("The plot", "was", (0, 1, 3), False))
    inside = [each for each in reading.spans if each[0] < 3 and each[1] > 0]
    assert "".join(map(str, tokenizer.convert_ids_to_tokens(reading.ids))).startswith("###H")
    assert inside[0][0] in (-1, 0)  # the space may have merged with the word
    assert inside[-1][1] == 3


def test_something_is_read_where_a_tokenizer_knows_nothing():
    tokenizer = tokenizer_of("wordpiece")
    reading = reading_of(tokenizer, "\x00")
    assert reading == RewardTokens([tokenizer.eos_token_id], [(-1, -1)], None)


def test_a_batch_is_padded_on_the_right():
    policy, reward = tokenizer_of("byte-level"), tokenizer_of("wordpiece")
    rows = [
        (encode_plain(policy, "The plot"), encode_plain(policy, " was good")),
        (encode_plain(policy, "The"), [policy.eos_token_id]),
    ]
    inputs = read_responses(policy, reward, rows, width=15)
    B, S = inputs.input_ids.shape
    assert (B, inputs.overlap.shape) == (2, (2, S, 15))
    for b, row in enumerate(rows):
        decoded = decode_response(policy, *row)
        reading = read_response(reward, continue_prompt(decoded.prompt, decoded.text), decoded)
        length = len(reading.ids)
        assert inputs.input_ids[b, :length].tolist() == reading.ids
        assert inputs.attention_mask[b].tolist() == [True] * length + [False] * (S - length)
        table = byte_overlap(decoded, reading)
        assert torch.equal(inputs.overlap[b, :length, : table.shape[1]], table)
        assert inputs.overlap[b].sum() == table.sum()


def test_refusals_name_the_tokenizer_and_the_place():
    class Slow(PreTrainedTokenizer):
        """A tokenizer in Python."""

        vocab_size = 0

        def get_vocab(self) -> dict[str, int]:
            return {}

    def refuse(tokenizer: PreTrainedTokenizerBase, text: RewardText) -> str:
        with pytest.raises(InputError) as refused:
            read_response(tokenizer, text, DecodedResponse("a", " b", (0, 2), ended=False))
        assert "\n" not in str(refused.value)
        return str(refused.value)

    slow: Any = Slow
    assert refuse(slow(), continue_prompt("a", " b")).startswith(
        "reward_model: must have a fast tokenizer, which tells where its tokens stand in the "
        "text, received Slow; "
    )
    assert refuse(tokenizer_of("byte-level"), RewardText("a: b", 2, 3)).startswith(
        "reward_model: its template must hold the response unchanged at characters 2 to 3, "
        "received ' ' for ' b'; "
    )
