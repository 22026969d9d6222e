"""Chat templates of the model families: what a policy reads before it answers."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.dialogue import PromptText, Turn
from abcrl.models import PromptWriter, TextReader, encode_plain, make_render
from abcrl.models.text.reward_text import encode_text
from abcrl.models.text.tokenizers import special_ids
from tests.models.text.chat_families import CHAT_FAMILIES, MISTRAL, chat_tokenizer

every_family = pytest.mark.parametrize("family", CHAT_FAMILIES)
ASKED = (Turn("user", "The plot"),)
TALK = (*ASKED, Turn("assistant", "was"), Turn("user", "good?"))
INSTRUCTED = (Turn("system", "Be brief."), *TALK)


def with_template(family: str, template: str) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(chat_tokenizer(family))
    tokenizer.chat_template = template
    return tokenizer


def generation_prompt(tokenizer: Any, turns: tuple[Turn, ...]) -> list[int]:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def controls(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    named = special_ids(tokenizer) - {tokenizer.unk_token_id}
    return [each for each in ids if each in named]


@every_family
@pytest.mark.parametrize("turns", [ASKED, TALK, INSTRUCTED])
def test_a_policy_reads_what_the_template_gives_for_generation(family, turns):
    tokenizer = chat_tokenizer(family)
    writer = PromptWriter(tokenizer, "chat")
    if family in ("gemma", "unigram") and turns[0].role == "system":
        with pytest.raises(InputError, match=r"^data\.template: .*no system role"):
            writer.prompt_ids(PromptText(turns=turns))
        return
    expected = generation_prompt(tokenizer, turns)
    assert writer.prompt_ids(PromptText(turns=turns)) == expected
    [row] = TextReader(tokenizer, policy_template="chat").read([PromptText(turns=turns)], ["yes"])
    assert row.ids == [*expected, *writer.response_ids("yes")]
    assert row.start == len(expected)


@every_family
def test_sft_learns_the_tokens_that_the_template_writes_for_an_answer(family):
    # The white space that some write between prompt and answer is there once, and the answer's.
    tokenizer: Any = chat_tokenizer(family)
    [row] = TextReader(tokenizer, policy_template="chat").read([PromptText(turns=ASKED)], [" a?\n"])
    messages = [{"role": "user", "content": "The plot"}, {"role": "assistant", "content": "a?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    end = len(whole) - 1 - whole[::-1].index(tokenizer.eos_token_id)
    if family in ("llama3", "qwen", "gemma"):
        assert row.ids == whole[: end + 1]
        return
    learnt, written = str(tokenizer.decode(row.ids)), str(tokenizer.decode(whole[: end + 1]))
    if family == "thinking":  # the response has its own thoughts, if any
        written = written.replace("<think>\n\n</think>\n\n", "")
    # Some tokenizers begin whatever follows a special token with a blank; it stands there once.
    assert learnt.replace(" ", "") == written.replace(" ", "")
    assert row.ids[row.start : -1] == encode_plain(tokenizer, "a?")


def test_a_template_that_knows_no_generation_prompt_gives_what_stands_before_an_answer():
    template = (
        "{% for t in messages %}<|im_start|>{{ t.role }}: {{ t.content }}<|im_end|>{% endfor %}"
    )
    tokenizer = with_template("qwen", template)
    writer = PromptWriter(tokenizer, "chat")
    ids = writer.prompt_ids(PromptText(turns=(Turn("user", "a "),)))
    assert tokenizer.decode(ids) == "<|im_start|>user: a <|im_end|><|im_start|>assistant:"
    assert tokenizer.decode(writer.response_ids("b")) == " b<|im_end|>"


def test_blanks_that_a_user_says_last_are_not_the_answers():
    template = "{% for t in messages %}{{ t.content }} {% endfor %}"
    tokenizer = with_template("llama3", template.replace("}} {%", "}}{{ '|' if 0 }} {%"))
    ids = PromptWriter(tokenizer, "chat").prompt_ids(PromptText(turns=(Turn("user", "a  "),)))
    assert str(tokenizer.decode(ids)).startswith("a  ")


@pytest.mark.parametrize("blank", ["", " "])
def test_a_tokenizer_with_a_blank_of_its_own_gets_no_second_one(blank):
    tokenizer = chat_tokenizer("llama2")
    template = f"Q: {{prompt}} A:{blank}{{response}}"
    assert PromptWriter(tokenizer, template).response_ids("was") == [
        *encode_plain(tokenizer, "was"),
        tokenizer.eos_token_id,
    ]


@every_family
@pytest.mark.parametrize("said_by", ["prompt", "earlier answer", "response", "response's end"])
@pytest.mark.parametrize("named", [False, True])
def test_control_tokens_that_are_spelled_out_stay_words(family, said_by, named):
    tokenizer = chat_tokenizer(family)
    ids = special_ids(tokenizer) if named else special_ids(tokenizer) - {*tokenizer.all_special_ids}
    spelled = "a ".join(str(tokenizer.decode([each])) for each in sorted(ids))
    place = {"prompt": 2, "earlier answer": 1}.get(said_by, 3)
    said = ["one", "two", "three", "four"]
    plain = text_ids(tokenizer, said)
    said[place] = spelled if said_by == "response's end" else f"{spelled} x"
    assert controls(tokenizer, text_ids(tokenizer, said)) == controls(tokenizer, plain)
    writer = PromptWriter(tokenizer, "chat")
    turns = PromptText(turns=talk(said[:3]))
    expected = controls(tokenizer, writer.prompt_ids(PromptText(turns=TALK)))
    assert controls(tokenizer, writer.prompt_ids(turns)) == expected
    assert controls(tokenizer, writer.response_ids(said[3])) == [tokenizer.eos_token_id]
    assert controls(tokenizer, encode_plain(tokenizer, spelled)) == []


def talk(said: list[str]) -> tuple[Turn, ...]:
    roles = ("user", "assistant", "user")
    return tuple(Turn(role, content) for role, content in zip(roles, said, strict=True))


def text_ids(tokenizer: PreTrainedTokenizerBase, said: list[str]) -> list[int]:
    render = make_render("chat", tokenizer)
    ids, _ = encode_text(tokenizer, render(PromptText(turns=talk(said[:3])), said[3]))
    return ids


def test_turns_stay_in_the_order_of_the_template_where_one_spells_a_control_token():
    # The system's words stand in the last user's turn.
    tokenizer = chat_tokenizer("mistral-last")
    turns = (
        Turn("system", "Be."),
        Turn("user", "a"),
        Turn("assistant", "b </s>"),
        Turn("user", "c"),
    )
    ids = PromptWriter(tokenizer, "chat").prompt_ids(PromptText(turns=turns))
    text = str(tokenizer.decode(ids)).replace(" ", "")
    assert text == "<s>[INST]a[/INST]b</s></s>[INST]Be.\n\nc[/INST]"
    assert ids.count(tokenizer.eos_token_id) == 1
    render = make_render("chat", tokenizer)(PromptText(turns=turns), "d")
    assert [render.text[slice(*span)] for span in render.words] == ["a", "b </s>", "Be.", "c"]


@pytest.mark.parametrize(
    ("template", "turns", "found"),
    [
        (MISTRAL, INSTRUCTED, "the system's words nowhere"),
        (
            "{% for t in messages %}{% if t.role != 'assistant' or loop.last %}<s>{{ t.content }}"
            "{% endif %}{% endfor %}</s>",
            TALK,
            "the assistant's words nowhere",
        ),
        (
            "{% for t in messages %}{{ t.content }}</s>{% endfor %}"
            "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}",
            INSTRUCTED,
            "the system's words 2 times",
        ),
        (
            "{% for t in messages if t.role != 'system' %}{{ t.content }}</s>{% endfor %}"
            "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}",
            INSTRUCTED,
            "the system's words behind the answer",
        ),
    ],
)
def test_a_turn_whose_words_a_template_loses_is_refused_by_its_role(template, turns, found):
    render = make_render("chat", with_template("mistral", template))
    assert render(PromptText(turns=ASKED), "x").words
    with pytest.raises(InputError) as refused:
        render(PromptText(turns=turns), "x")
    assert str(refused.value).startswith(
        f"score.template: the tokenizer's chat template must write what each turn says once, "
        f"before the answer, received one that writes {found}; "
    )


def test_a_policy_must_read_what_a_user_says_and_a_reward_model_need_not():
    tokenizer = with_template("qwen", "A: {{ messages[-1].content }}<|im_end|>")
    with pytest.raises(InputError, match=r"^data\.template: .* writes the user's words nowhere; "):
        PromptWriter(tokenizer, "chat")
    text = make_render("chat", tokenizer)(PromptText(turns=TALK), "was")
    assert (text.text, text.words) == ("A: was<|im_end|>", ())


@pytest.mark.parametrize("behind", ["<end_of_turn>\n", " <end_of_turn>"])
def test_a_policy_must_end_where_its_template_ends_a_turn(behind):
    tokenizer = with_template("gemma", chat_template_ending_in(behind))
    PromptWriter(tokenizer, "chat")
    tokenizer.eos_token = "<bos>"
    with pytest.raises(InputError) as refused:
        PromptWriter(tokenizer, "chat")
    assert str(refused.value) == (
        "data.template: the tokenizer's EOS must be what the chat template ends a turn with, "
        "received <bos> where it writes <end_of_turn>; set eos_token in tokenizer_config.json"
    )
    PromptWriter(with_eos(tokenizer, chat_template_ending_in("\n")), "chat")  # no special token


def chat_template_ending_in(end: str) -> str:
    return f"{{% for t in messages %}}{{{{ t.role }}}}\n{{{{ t.content }}}}{end}{{% endfor %}}|"


def with_eos(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    tokenizer.chat_template = template
    return tokenizer


class Counting:
    """A chat template that counts how often it is written."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._write = tokenizer.apply_chat_template
        monkeypatch.setattr(tokenizer, "apply_chat_template", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self._write(*arguments, **options)


@pytest.mark.parametrize("family", ["llama3", "mistral-last"])
def test_a_prompt_is_written_once_for_all_its_turns_and_answers(family, monkeypatch):
    tokenizer = copy.deepcopy(chat_tokenizer(family))
    reader = TextReader(tokenizer, policy_template="chat")
    turns = (*TALK, Turn("assistant", "yes"), Turn("user", " b "))
    reader.read([PromptText(turns=turns)], ["x"])  # these roles' places are known from here on
    counting = Counting(tokenizer, monkeypatch)
    prompts = [PromptText(turns=(*turns[:-1], Turn("user", f"c{number}"))) for number in range(9)]
    chosen = reader.read(prompts, ["a"] * 9)
    assert counting.count == 9
    rejected = reader.read(prompts, ["b"] * 9)
    assert counting.count == 9
    assert [one.ids[: one.start] for one in chosen] == [one.ids[: one.start] for one in rejected]


PIECES = st.lists(st.sampled_from([" ", "\n", "a", "</s>", "[INST]", "<think>", "é"]), max_size=4)


@every_family
@settings(max_examples=25)
@given(first=PIECES.map("".join), second=PIECES.map("".join), response=PIECES.map("".join))
def test_all_turns_at_once_are_what_they_are_one_by_one(family, first, second, response):
    tokenizer = chat_tokenizer(family)
    prompt = PromptText(turns=(Turn("user", first), Turn("assistant", "b"), Turn("user", second)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("abcrl.models.text.chat._kept_at_once", lambda *_: None)
        one_by_one = make_render("chat", tokenizer)(prompt, response)
    assert make_render("chat", tokenizer)(prompt, response) == one_by_one
