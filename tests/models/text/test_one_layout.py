"""What `train-rm` learns from against what PPO reads of a policy with another tokenizer."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from abcrl.dialogue import PromptText
from abcrl.models import (
    PromptedResponse,
    PromptWriter,
    TextReader,
    decode_response,
    encode_plain,
    make_render,
    read_response,
    read_responses,
    splice_responses,
)
from abcrl.models.text.tokenizers import special_ids
from tests.models.text.chat_families import CHAT_FAMILIES, chat_tokenizer
from tests.models.text.tokenizer_families import tokenizer_of

POLICY_TEMPLATES = (None, "Q: {prompt}\nA: {response}", "Q: {prompt}\nA:{response}")
OWN_TEMPLATES = (
    "chat",
    "###Human: {prompt} ###Assistant: {response}",
    "{prompt}\n{response}\nGood?",
)
ANSWERS = ("was good.", " was good.", " was the plot, and the acting", "was\n\na café ")
# Templates whose control tokens are no EOS, as where a base model has its chat model's template.
FAMILIES = (*CHAT_FAMILIES, "gemma without EOS", "qwen without EOS")


def reward_tokenizer(family: str) -> PreTrainedTokenizerBase:
    name, _, changed = family.partition(" ")
    if not changed:
        return chat_tokenizer(name)
    tokenizer = copy.deepcopy(chat_tokenizer(name))
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    return tokenizer


def both(
    family: str, policy_template: str | None, template: str | None, answer: str
) -> tuple[list[int], list[int]]:
    """Returns what a reward model is trained on, and what it reads in PPO, of the same row."""
    policy, reward = tokenizer_of("byte-level"), reward_tokenizer(family)
    prompt = PromptText("The plot")
    reader = TextReader(reward, policy_template=policy_template, template=template)
    [trained] = reader.read([prompt], [answer])
    writer = PromptWriter(policy, policy_template)
    row = PromptedResponse(writer.prompt_ids(prompt), writer.response_ids(answer), prompt)
    render = make_render(policy_template if template is None else template, reward)
    read = read_responses(policy, reward, [row], width=len(row.response_ids), render=render)
    return trained.ids, read.input_ids[0].tolist()


def words_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Returns the text without white space, and each special token as a piece of its own."""
    special, pieces = special_ids(tokenizer) - {tokenizer.unk_token_id}, [""]
    for each in ids:
        text = str(tokenizer.decode([each]))
        pieces[-1:] = [pieces[-1], text, ""] if each in special else [pieces[-1] + text.strip()]
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", [None, *OWN_TEMPLATES])
@pytest.mark.parametrize("policy_template", POLICY_TEMPLATES)
@pytest.mark.parametrize("answer", ["was good.", " was good."])
def test_words_and_special_tokens_are_the_same_in_the_same_order(
    family, template, policy_template, answer
):
    trained, read = both(family, policy_template, template, answer)
    tokenizer = reward_tokenizer(family)
    assert words_of(tokenizer, trained) == words_of(tokenizer, read)


@pytest.mark.parametrize("family", ["llama3", "qwen", "gemma", "qwen without EOS"])
@pytest.mark.parametrize("template", [None, "chat", "{prompt}\n{response}\nGood?"])
@pytest.mark.parametrize("policy_template", [None, "Q: {prompt}\nA:{response}"])
def test_tokens_are_the_same_where_no_token_reaches_into_the_response(
    family, template, policy_template
):
    trained, read = both(family, policy_template, template, "was good.")
    assert trained == read


@pytest.mark.parametrize("family", ["llama2", "mistral"])
def test_a_blank_that_template_and_tokenizer_both_write_is_read_once(family):
    tokenizer = chat_tokenizer(family)
    trained, read = both(family, None, "chat", "was good.")
    answer = encode_plain(tokenizer, "was good.")
    start = trained.index(answer[0], len(trained) - len(answer) - 5)
    assert trained[start : start + len(answer)] == answer
    assert str(tokenizer.decode(trained[:start])).endswith("[/INST]")
    if family == "llama2":
        assert read[: len(trained[: start + len(answer)])] == trained[: start + len(answer)]


@pytest.mark.parametrize("family", ["gemma without EOS", "qwen without EOS"])
@pytest.mark.parametrize("ended", [False, True])
def test_the_eos_of_a_response_stands_behind_it_where_a_chat_template_writes_none(family, ended):
    tokenizer, policy = reward_tokenizer(family), tokenizer_of("byte-level")
    ids = [*encode_plain(policy, "was"), *([policy.eos_token_id] if ended else [])]
    response = decode_response(policy, encode_plain(policy, "The plot"), ids)
    text = make_render("chat", tokenizer)("The plot", response.text)
    reading = read_response(tokenizer, text, response)
    assert reading.ids.count(tokenizer.eos_token_id) == ended
    assert len(reading.spans) == len(reading.ids)
    if not ended:
        assert reading.eos is None
        return
    assert reading.eos is not None
    assert reading.ids[reading.eos] == tokenizer.eos_token_id
    assert reading.spans[reading.eos - 1][1] == len("was")
    assert str(tokenizer.decode(reading.ids[reading.eos + 1])) in ("<end_of_turn>", "<|im_end|>")
    read = read_responses(
        policy,
        tokenizer,
        [PromptedResponse(encode_plain(policy, "The plot"), ids)],
        width=len(ids),
        render=make_render("chat", tokenizer),
    )
    assert read.overlap[0, :, -1].nonzero().tolist() == [[reading.eos]]


@pytest.mark.parametrize("family", CHAT_FAMILIES)
@settings(max_examples=15)
@given(data=st.data())
def test_a_policy_with_the_reward_models_ids_is_read_as_it_was_learnt_from(family, data):
    tokenizer = chat_tokenizer(family)
    policy_template = data.draw(st.sampled_from((*POLICY_TEMPLATES, "chat")))
    template = data.draw(st.sampled_from(OWN_TEMPLATES))
    answer = data.draw(st.sampled_from(ANSWERS))
    prompt = PromptText(data.draw(st.sampled_from(("The plot", "a </s>", "[INST] b ", "é\n"))))
    reader = TextReader(tokenizer, policy_template=policy_template, template=template)
    [trained] = reader.read([prompt], [answer])
    writer = PromptWriter(tokenizer, policy_template)
    row = PromptedResponse(writer.prompt_ids(prompt), writer.response_ids(answer), prompt)
    render = make_render(template, tokenizer)
    width = len(row.response_ids)
    read = splice_responses(tokenizer, tokenizer, [row], width=width, render=render)
    assert read.input_ids[0].tolist() == trained.ids
    places = read.overlap[0].argmax(0).tolist()
    body = [trained.ids[place] for place in places[:-1]]
    assert body == row.response_ids[:-1]
