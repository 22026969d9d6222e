"""What stands around prompt and response when a reward model reads them, and where they stand."""

import copy

import pytest
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import (
    DecodedResponse,
    RewardText,
    byte_overlap,
    decode_response,
    encode_plain,
    make_render,
    read_response,
    read_responses,
)
from tests.models.text.tokenizer_families import tokenizer_of

CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n"
    "{% endfor %}"
)
STRIPPING = CHAT.replace("message['content']", "message['content'] | trim")


def chatty(template: str, family: str = "unigram") -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(tokenizer_of(family))
    tokenizer.chat_template = template
    return tokenizer


def response_of(text: RewardText) -> str:
    return text.text[text.start : text.stop]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "The plot was good"),
        ("{prompt}{response}", "The plot was good"),
        (
            "###Human: {prompt} ###Assistant:{response}###",
            "###Human: The plot ###Assistant: was good###",
        ),
        ("Rate this: {response}", "Rate this:  was good"),
        ('{"text": "{response}", "of": "{prompt}"}', '{"text": " was good", "of": "The plot"}'),
    ],
)
def test_a_template_is_text_around_prompt_and_response(template, expected):
    text = make_render(template, tokenizer_of("unigram"))("The plot", " was good")
    assert text.text == expected
    assert response_of(text) == " was good"
    assert not text.rendered


@pytest.mark.parametrize("part", ["{response}", "{prompt}", "{0}", "%s", "{", "}}"])
def test_what_a_policy_writes_is_never_a_placeholder(part):
    render = make_render("A {prompt} B {response} C", tokenizer_of("unigram"))
    text = render(f"one{part}", f"two{part}")
    assert text.text == f"A one{part} B two{part} C"
    assert response_of(text) == f"two{part}"


@pytest.mark.parametrize("response", [" was good", "user\na", "assistant", "</s>", "\n", "", "🙂"])
def test_a_chat_template_puts_each_into_its_turn(response):
    text = make_render("chat", chatty(CHAT))("The plot", response)
    assert text.text == f"<s>user\nThe plot</s>\n<s>assistant\n{response}</s>\n"
    assert text.start == len("<s>user\nThe plot</s>\n<s>assistant\n")
    assert response_of(text) == response
    assert text.rendered


def test_a_chat_template_may_take_white_space_off():
    policy, reward = tokenizer_of("byte-level"), chatty(STRIPPING, "byte-fallback")
    ids = encode_plain(policy, "  was good ")
    response = decode_response(policy, encode_plain(policy, "The plot"), ids)
    assert response.text == "  was good "
    text = make_render("chat", reward)(response.prompt, response.text)
    assert response_of(text) == "was good"
    reading = read_response(reward, text, response)
    shared = byte_overlap(response, reading).sum(0)
    spans = [span for span in reading.spans if 0 <= span[0] < span[1] <= 11]
    # Bytes 2 to 10 are what is left of the response; no word of the template reaches into it.
    assert sorted({place for span in spans for place in range(*span)}) == list(range(2, 10))
    assert shared.sum() == 8


@pytest.mark.parametrize("text", ["\n\n\n", " a ", "\t漢字 "])
def test_stripping_moves_no_credit_from_template_to_response(text):
    policy, reward = tokenizer_of("byte-level"), chatty(STRIPPING, "byte-level")
    row = (encode_plain(policy, "The"), encode_plain(policy, text))
    inputs = read_responses(
        policy, reward, [row], width=len(row[1]), render=make_render("chat", reward)
    )
    assert inputs.overlap.sum() == len(text.strip().encode())


def test_a_tokenizer_without_chat_template_is_refused():
    with pytest.raises(InputError, match=r"score\.template: .*no chat template, received chat"):
        make_render("chat", tokenizer_of("unigram"))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0]['content'] }}", "does not"),
        ("{{ messages[1]['content'] | upper }}{{ messages[1]['content'] }}", "does not"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused(template, reason):
    with pytest.raises(InputError, match=rf"score\.template: .*{reason}") as refused:
        make_render("chat", chatty(template))
    assert len(str(refused.value).splitlines()) == 1


def test_a_response_that_the_template_changes_is_refused():
    response = DecodedResponse("The", "a&b", (0, 3), ended=False)
    reward = chatty(CHAT)
    text = RewardText("The a&amp;b", 4, 11, rendered=True)
    with pytest.raises(InputError, match="must hold the response unchanged"):
        read_response(reward, text, response)
