"""What stands around prompt and response when a reward model reads them, and where they stand."""

import copy
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import (
    DecodedResponse,
    PromptedResponse,
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
        ("Rate this: {response}", "Rate this: was good"),
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
    row = PromptedResponse(encode_plain(policy, "The"), encode_plain(policy, text))
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
        ("{{ messages[1]['content'] | upper }}", "does not"),
        ("{{ messages[0]['content'] | upper }}{{ messages[1]['content'] }}", "does not"),
        ("{{ messages[1]['content'] }}{{ messages[1]['content'] }}", "does not"),
        ("{{ messages[0].content }}{{ messages[0].content }}{{ messages[1].content }}", "does not"),
        ("{{ messages[1]['content'] }}{{ messages[0]['content'] }}", "does not"),
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


# Qwen3's way with an answer: thoughts are moved in front of it, line feeds taken off.
THINKING = """\
{%- for turn in messages %}
{{- '<s>' + turn.role + '\\n' }}
{%- if turn.role == 'assistant' %}
    {%- set content = turn.content %}
    {%- set thoughts = '' %}
    {%- if '</think>' in content %}
        {%- set thoughts = content.split('</think>')[0].split('<think>')[-1] %}
        {%- set content = content.split('</think>')[-1] %}
    {%- endif %}
    {{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{%- else %}{{- turn.content }}{%- endif %}
{{- '</s>\\n' }}
{%- endfor %}"""
OPENED = "<s>user\nThe plot</s>\n<s>assistant\n<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("\nabc ", "abc "),
        ("\n abc", " abc"),
        ("\n\nabc.\n", "abc.\n"),
        (" \nabc", " \nabc"),
        ("\n\n", ""),
        ("", ""),
        ("x</think>y", "x</think>y"),  # not what the template makes of it: "x" in front, "y" here
        ("</think>", "</think>"),
        ("\n</think>\ny", "\n</think>\ny"),
    ],
)
def test_a_template_that_takes_thoughts_out_of_a_response(response, expected):
    text = make_render("chat", chatty(THINKING))("The plot", response)
    assert text.text == f"{OPENED}{expected}</s>\n"
    assert response_of(text) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("", " a&b\n"),
        (" | trim", "a&b"),
        (".rstrip()", " a&b"),
        (".lstrip(' ')", "a&b\n"),
        (" | e", " a&b\n"),
        (".replace('&', '')", " a&b\n"),
        ("[:3]", " a&b\n"),
        (".split('&')[2:][0].x", " a&b\n"),  # raises
    ],
)
@pytest.mark.parametrize("turn", [0, 1])
def test_what_a_template_does_not_leave_as_it_is_is_read_as_it_was(change, expected, turn):
    contents = ["{{ messages[0].content }}", "{{ messages[1].content }}"]
    edited = f"(messages[{turn}].content{change})"
    # A template that fails for every text is refused: this one fails where it finds an &.
    contents[turn] = (
        f"{{% if '&' in messages[{turn}].content %}}{{{{ {edited} }}}}"
        f"{{% else %}}{{{{ messages[{turn}].content }}}}{{% endif %}}"
    )
    said = ["The plot", " was good"]
    said[turn] = " a&b\n"
    text = make_render("chat", chatty("U: {}</s>A: {}</s>".format(*contents)))(*said)
    said[turn] = expected
    assert text.text == f"U: {said[0]}</s>A: {said[1]}</s>"
    assert response_of(text) == said[1]
    assert text.text[slice(*text.words[0])] == said[0]


def test_what_a_template_does_to_the_prompt_does_not_change_the_response():
    template = STRIPPING.replace("content'] |", "content'].replace('&', '+') |")
    text = make_render("chat", chatty(template))(" a&b ", " was ")
    assert text.text == "<s>user\n a&b </s>\n<s>assistant\nwas</s>\n"


TEMPLATES = [CHAT, STRIPPING, THINKING, CHAT.replace("content'] }}", "content'].rstrip() | e }}")]
WORDS = st.lists(
    st.sampled_from(
        ["\n", " ", "</think>", "<think>", "</s>", "<s>", "&", "{{", "a", "\ufffc2", "🙂"]
    ),
    max_size=5,
)
SPACES = st.text("\n \t", max_size=2)
NASTY = st.tuples(SPACES, WORDS.map("".join), SPACES).map("".join)


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=60)
@given(prompt=NASTY, said=NASTY, ended=st.booleans())
@example(prompt="a", said="\nabc ", ended=True)
@example(prompt="a", said=" abc ", ended=True)
@example(prompt="a", said="\n\nabc.\n", ended=False)
@example(prompt="a", said="x</think>y", ended=False)
def test_nothing_that_is_said_ends_a_run_or_moves_the_template(template, prompt, said, ended):
    policy, reward = tokenizer_of("byte-level"), chatty(template, "byte-fallback")
    render = make_render("chat", reward)
    ids = [*encode_plain(policy, said), *([policy.eos_token_id] if ended else [])]
    response = decode_response(policy, encode_plain(policy, prompt), ids)
    text, plain = render(prompt, said), render("a", "b")
    assert words_around(text) == words_around(plain)
    assert text.text[slice(*text.words[0])].strip() == prompt.strip()
    assert response_of(text).strip() == said.strip()
    reading = read_response(reward, text, response)
    # The template's special tokens, and no other.
    bos, eos = reward.bos_token_id, reward.eos_token_id
    assert [each for each in reading.ids if each in (bos, eos)] == [bos, eos, bos, eos]
    # Response tokens that are read receive something, white space that is gone receives nothing.
    first = len(said[: said.find(response_of(text))].encode())
    last = first + len(response_of(text).encode())
    read = [max(start, first) < min(stop, last) for start, stop in pairwise(response.edges)]
    receives = (byte_overlap(response, reading).sum(0) > 0).tolist()
    assert receives == ([*read[:-1], True] if ended else read)


def words_around(text: RewardText) -> tuple[str, str, str]:
    ((begin, end),) = text.words
    return text.text[:begin], text.text[end : text.start], text.text[text.stop :]


def test_a_word_that_reaches_over_white_space_that_is_gone_does_not_cover_it():
    # One token for the template's letters and the response's, of which the spaces are gone.
    reward = byte_level_with("<xy>")
    response = DecodedResponse("", "  y", (0, 1, 2, 3), ended=False)
    text = RewardText("<xy>", 2, 3, rendered=True)
    reading = read_response(reward, text, response)
    assert reading.spans == [(2, 3)]
    assert byte_overlap(response, reading).tolist() == [[0, 0, 1]]


def byte_level_with(word: str) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(tokenizer_of("byte-level"))
    tokenizer.add_tokens([word])
    return tokenizer
