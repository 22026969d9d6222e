"""The tokens that a reward model reads of a response, and which of the policy's they stand for."""

import copy
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import (
    DecodedResponse,
    PromptedResponse,
    RewardText,
    RewardTokens,
    byte_overlap,
    continue_prompt,
    decode_response,
    encode_plain,
    read_response,
    read_responses,
)
from tests.models.text.tokenizer_families import tokenizer_of

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


LLAMA = (
    "{{ bos_token }}{% for turn in messages %}"
    "{% if turn.role == 'user' %}[INST] {{ turn.content }} [/INST]"
    "{% else %} {{ turn.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def with_bos(family: str) -> PreTrainedTokenizerBase:
    """A copy that begins every text with <s> and has a chat template that does so too."""
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = LLAMA
    backend: Any = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(
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
    response = DecodedResponse("", "\x00", (0, 1), ended=False)
    reading = read_response(tokenizer, continue_prompt("", "\x00"), response)
    assert reading == RewardTokens([tokenizer.eos_token_id], [(-1, -1)], None)


def test_a_batch_is_padded_on_the_right():
    policy, reward = tokenizer_of("byte-level"), tokenizer_of("wordpiece")
    rows = [
        (encode_plain(policy, "The plot"), encode_plain(policy, " was good")),
        (encode_plain(policy, "The"), [policy.eos_token_id]),
    ]
    prompted = [PromptedResponse(*row) for row in rows]
    inputs = read_responses(policy, reward, prompted, width=15)
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
        "reward_model: its template must hold the response unchanged, but for white space at its "
        "ends, at characters 2 to 3, received ' ' for ' b'; "
    )
