"""Prompts and responses: SFT learns, id for id, what PPO reads and what a scorer reads."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.dialogue import PromptText, Turn
from abcrl.models import (
    PromptedResponse,
    PromptWriter,
    TextReader,
    bos_prefix,
    encode_plain,
    make_render,
    splice_responses,
)
from tests.models.text.tokenizer_families import FAMILIES, tokenizer_of

CHAT = "{% for turn in messages %}<s>{{ turn.role }}\n{{ turn.content | trim }}</s>\n{% endfor %}"
ALPACA = "### Instruction:\n{prompt}\n\n### Response: {response}"
SPOKEN = (Turn("user", "The plot"), Turn("assistant", "was"), Turn("user", "a good </s> one"))


def chatty(family: str = "unigram") -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = CHAT
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_template_a_prompt_is_its_text_word_for_word(family):
    tokenizer = tokenizer_of(family)
    said = PromptText("\n\nHuman: The plot\n\nAssistant:", SPOKEN[:1])
    expected = [*bos_prefix(tokenizer), *encode_plain(tokenizer, said.text or "")]
    assert PromptWriter(tokenizer).prompt_ids(said) == expected
    response = PromptWriter(tokenizer).response_ids(" was good")
    assert response == [*encode_plain(tokenizer, " was good"), tokenizer.eos_token_id]


def test_a_conversation_without_text_needs_a_template():
    with pytest.raises(InputError, match=r"^data\.template: must say how a conversation is"):
        PromptWriter(tokenizer_of("byte-level")).prompt_ids(PromptText(turns=SPOKEN))


@pytest.mark.parametrize("said", [PromptText("The plot"), PromptText(turns=SPOKEN[:1])])
def test_the_blank_before_a_response_is_the_responses(said):
    tokenizer = tokenizer_of("byte-level")
    writer = PromptWriter(tokenizer, ALPACA)
    asked = encode_plain(tokenizer, "### Instruction:\nThe plot\n\n### Response:")
    assert writer.prompt_ids(said) == [*bos_prefix(tokenizer), *asked]
    for response in ("was good", " was good"):
        answer = encode_plain(tokenizer, " was good")
        assert writer.response_ids(response) == [*answer, tokenizer.eos_token_id]


def test_a_text_with_one_place_is_not_filled_with_several_turns():
    with pytest.raises(InputError, match=r"^data\.template: must be chat for conversations of sev"):
        PromptWriter(tokenizer_of("byte-level"), ALPACA).prompt_ids(PromptText(turns=SPOKEN))


def test_a_chat_template_writes_every_turn_and_their_words_stay_words():
    tokenizer = chatty()
    ids = PromptWriter(tokenizer, "chat").prompt_ids(PromptText(turns=SPOKEN))
    assert ids.count(tokenizer.eos_token_id) == 3  # the template's; the one that is said is words
    around = [
        *special_ids(tokenizer, "<s>user\nThe plot</s>\n<s>assistant\nwas</s>\n<s>user\n"),
        *encode_plain(tokenizer, "a good </s> one"),
        *special_ids(tokenizer, "</s>\n<s>assistant\n"),
    ]
    first, second = (str(tokenizer.decode(one)).replace(" ", "") for one in (ids, around))
    assert first == second


def test_a_chat_response_is_learnt_without_white_space_at_its_ends():
    tokenizer = chatty("byte-level")
    expected = [*encode_plain(tokenizer, "was good"), tokenizer.eos_token_id]
    assert PromptWriter(tokenizer, "chat").response_ids(" was good\n") == expected


@pytest.mark.parametrize("template", [None, ALPACA, "chat"])
def test_a_text_is_prompt_and_response_without_anything_encoded_across(template):
    tokenizer = chatty("byte-level")
    writer = PromptWriter(tokenizer, template)
    said = PromptText("The plot was", (Turn("user", "The plot was"),))
    [row] = TextReader(tokenizer, policy_template=template).read([said], [" good"])
    assert row.ids == [*writer.prompt_ids(said), *writer.response_ids(" good")]
    assert row.ids[row.start :] == writer.response_ids(" good")


def test_a_text_without_a_prompt_begins_with_bos_and_is_all_response():
    tokenizer = tokenizer_of("byte-level")
    prompts = [None, PromptText("The"), None]
    first, second, third = TextReader(tokenizer).read(prompts, ["a", " plot", "was"])
    assert (first.start, third.start) == (0, 0)
    assert first.ids == [*bos_prefix(tokenizer), *PromptWriter(tokenizer).response_ids("a")]
    assert second.start == len(PromptWriter(tokenizer).prompt_ids(PromptText("The")))


@pytest.mark.parametrize("template", ["chat", "Q: {prompt} A: {response}", "{response} is it"])
@pytest.mark.parametrize("family", ["byte-level", "unigram"])
@settings(max_examples=20)
@given(prompt=st.text("ab .", min_size=1), response=st.text("ab .", min_size=1))
def test_a_reward_model_is_trained_on_what_it_will_be_given(family, template, prompt, response):
    tokenizer = chatty(family)
    said = PromptText(prompt)
    [row] = TextReader(tokenizer, template=template).read([said], [response])
    answer = PromptWriter(tokenizer).response_ids(response)
    sampled = PromptedResponse(PromptWriter(tokenizer).prompt_ids(said), answer, said)
    render = make_render(template, tokenizer)
    given_ids = splice_responses(tokenizer, tokenizer, [sampled], width=len(answer), render=render)
    if len(answer) > 1:
        assert given_ids.input_ids[0].tolist() == row.ids
    assert 0 <= row.start < len(row.ids)
