"""What a reward model with the policy's ids reads of a response between a template's words."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from abcrl.densification import transfer
from abcrl.models import (
    PromptedResponse,
    continue_prompt,
    decode_response,
    encode_plain,
    make_render,
    read_response,
    splice_response,
    splice_responses,
)
from tests.models.text.tokenizer_families import FAMILIES, ids_of, tokenizer_of

CHAT = (
    "{% for turn in messages %}<|pad|>{{ turn['role'] }}\n{{ turn['content'] | trim }}"
    "<|endoftext|>\n{% endfor %}"
)
ASKED = "<|pad|>user\nThe plot<|endoftext|>\n<|pad|>assistant\n"
PLAIN = "###Human: {prompt} ###Assistant:{response}\nGood?"


def chatty(template: str = CHAT, family: str = "byte-level") -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = template
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Returns the ids of a text in which special tokens are read as such."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def ids_by_name(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> list[int]:
    return [tokenizer.get_vocab()[token] for token in tokens]


# Never what the text " was" is encoded to, and white space that the template would take off.
AS_WRITTEN = ["Ġ", "w", "a", "s", "Ġ", "Ċ"]


@pytest.mark.parametrize(
    ("template", "written", "before", "after", "places"),
    [
        # The template closes the turn: no second EOS behind the response's.
        (CHAT, [*AS_WRITTEN, "<|endoftext|>"], ASKED, "<|endoftext|>\n", [0, 1, 2, 3, 4, 5, 6]),
        # It closes the turn of a response that was cut off too, which has no part in that.
        (CHAT, AS_WRITTEN, ASKED, "<|endoftext|>\n", [0, 1, 2, 3, 4, 5]),
        # As Llama 2: a space stands before it.
        (
            CHAT.replace("<|endoftext|>", " <|endoftext|>"),
            ["a", "<|endoftext|>"],
            ASKED.replace("<|endoftext|>", " <|endoftext|>"),
            " <|endoftext|>\n",
            [0, 2],
        ),
        # It writes none: the response's own, right behind it.
        (
            CHAT.replace("<|endoftext|>", ""),
            ["a", "<|endoftext|>"],
            ASKED.replace("<|endoftext|>", ""),
            "<|endoftext|>\n",
            [0, 1],
        ),
        (CHAT, ["<|endoftext|>"], ASKED, "<|endoftext|>\n", [0]),
    ],
)
def test_a_chat_template_around_a_response(template, written, before, after, places):
    tokenizer = chatty(template)
    response = ids_by_name(tokenizer, written)
    ended = written[-1] == "<|endoftext|>"
    around = make_render("chat", tokenizer)("The plot", "")
    ids, found = splice_response(tokenizer, around, response, ended=ended)
    opening, closing = special_ids(tokenizer, before), special_ids(tokenizer, after)
    assert ids == [*opening, *(response[:-1] if ended else response), *closing]
    assert found == [len(opening) + place for place in places]


@pytest.mark.parametrize("ended", [False, True])
def test_plain_text_around_a_response(ended):
    tokenizer = tokenizer_of("byte-level")
    body = ids_by_name(tokenizer, AS_WRITTEN)
    eos = [tokenizer.eos_token_id] if ended else []
    around = make_render(PLAIN, tokenizer)("The plot", "")
    ids, places = splice_response(tokenizer, around, [*body, *eos], ended=ended)
    opening = encode_plain(tokenizer, "###Human: The plot ###Assistant:")
    closing = encode_plain(tokenizer, "\nGood?")
    # As for a reward model with another tokenizer, EOS ends the whole text.
    assert ids == [*opening, *body, *closing, *eos]
    last = [len(ids) - 1] if ended else []
    assert places == [*range(len(opening), len(opening) + len(body)), *last]


@pytest.mark.parametrize("written", ["<|pad|>", "<|endoftext|>"])
def test_a_policy_may_end_with_another_token_than_the_reward_model(written):
    # As a base model and its chat model, which share their ids. The template may end with either.
    chat = f"{{% for turn in messages %}}{{{{ turn.content }}}}{written}\n{{% endfor %}}"
    reward = chatty(chat)
    policy = copy.deepcopy(reward)
    policy.eos_token = "<|pad|>"
    ids = ids_by_name(policy, ["a", "<|pad|>"])
    render = make_render("chat", reward)
    read = splice_responses(policy, reward, [PromptedResponse([], ids)], width=2, render=render)
    assert read.input_ids[0].tolist() == special_ids(reward, f"{written}\na{written}\n")
    assert read.overlap[0].nonzero().tolist() == [[2, 0], [3, 1]]


@pytest.mark.parametrize("template", [PLAIN, "chat"])
def test_bos_is_there_once(template):
    reward = chatty("<s>{{ messages[0].content }}: {{ messages[1].content }}</s>", "unigram")
    backend: Any = reward.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", reward.bos_token_id)]
    )
    rows = [PromptedResponse([], ids_by_name(reward, ["▁", "w"]))]
    render = make_render(template, reward)
    read = splice_responses(reward, reward, rows, width=2, render=render)
    assert (read.input_ids[0] == reward.bos_token_id).nonzero().tolist() == [[0]]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30)
@given(data=st.data())
def test_every_response_token_gets_its_own_attention(family, data):
    tokenizer = tokenizer_of(family)
    eos = tokenizer.eos_token_id
    rows: list[tuple[list[int], list[int]]] = []
    for _ in range(2):
        body = [each for each in data.draw(ids_of(tokenizer)) if each != eos] or [eos]
        rows.append(
            (data.draw(ids_of(tokenizer)), [*body, *data.draw(st.sampled_from([[], [eos]]))])
        )
    width = max(len(response) for _, response in rows) + 1
    chat = f"{{{{ messages[0].content }}}}{{{{ messages[1].content }}}}{tokenizer.eos_token}"
    template, reader = data.draw(
        st.sampled_from([(PLAIN, tokenizer), ("chat", chatty(chat, family))])
    )
    render = make_render(template, reader)
    prompted = [PromptedResponse(*row) for row in rows]
    inputs = splice_responses(tokenizer, reader, prompted, width=width, render=render)
    assert ((inputs.overlap == 0) | (inputs.overlap == 1)).all()
    assert (inputs.overlap.sum(-1) <= 1).all()
    assert inputs.overlap[~inputs.attention_mask].sum() == 0
    attention = torch.rand(inputs.input_ids.shape).masked_fill(~inputs.attention_mask, 0)
    mask = torch.arange(width) < torch.tensor([[len(response)] for _, response in rows])
    arrived = transfer(attention, inputs.overlap, mask).attention
    for b, (_, response) in enumerate(rows):
        places = inputs.overlap[b, :, : len(response)].argmax(0)
        assert inputs.input_ids[b, places].tolist() == response
        assert torch.equal(arrived[b, : len(response)], attention[b, places])


@pytest.mark.parametrize("text", [" was good", " The plot", "a"])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("template", ["chat", PLAIN])
def test_the_layout_is_that_of_the_text_read_anew(text, ended, template):
    # Where the response's ids are those that its text is encoded to, and nothing merges with it.
    tokenizer = chatty(CHAT.replace(" | trim", ""))
    ids = [*encode_plain(tokenizer, text), *([tokenizer.eos_token_id] if ended else [])]
    prompt_ids = encode_plain(tokenizer, "The <|endoftext|> plot")
    response = decode_response(tokenizer, prompt_ids, ids)
    render = make_render(template, tokenizer)
    tokens = read_response(tokenizer, render(response.prompt, response.text), response)
    read = splice_responses(
        tokenizer, tokenizer, [PromptedResponse(prompt_ids, ids)], width=9, render=render
    )
    assert read.input_ids[0].tolist() == tokens.ids


def test_the_prompt_is_read_as_text_without_its_special_tokens():
    tokenizer = tokenizer_of("byte-level")
    prompt_ids = [tokenizer.bos_token_id, *ids_by_name(tokenizer, ["w", "a", "s"])]
    response = ids_by_name(tokenizer, ["Ġ", "a"])
    rows = [PromptedResponse(prompt_ids, response)]
    read = splice_responses(tokenizer, tokenizer, rows, width=2, render=continue_prompt)
    assert read.input_ids[0].tolist() == [*encode_plain(tokenizer, "was"), *response]
