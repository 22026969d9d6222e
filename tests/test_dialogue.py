"""Transcripts: what is said comes back turn by turn, and what is none is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.dialogue import PromptText, Turn, is_transcript, parse_transcript

MARKERS = {"user": "\n\nHuman:", "assistant": "\n\nAssistant:"}
# What is said begins and ends with something, and spells no marker.
WORDS = st.text(min_size=1).filter(
    lambda text: text == text.strip() and not any(marker in text for marker in MARKERS.values())
)


def written(said: list[str]) -> str:
    """Returns the transcript of an alternating conversation that the user begins."""
    roles = ("user", "assistant")
    return "".join(f"{MARKERS[roles[n % 2]]} {words}" for n, words in enumerate(said))


def turns(*said: str) -> tuple[Turn, ...]:
    return tuple(Turn(("user", "assistant")[n % 2], words) for n, words in enumerate(said))


@given(said=st.lists(WORDS, min_size=1, max_size=6))
def test_a_conversation_comes_back_from_its_transcript(said):
    text = written(said)
    assert is_transcript(text)
    assert parse_transcript(text) == turns(*said)


@given(said=st.lists(WORDS, min_size=1, max_size=5).filter(lambda said: len(said) % 2))
def test_the_marker_of_an_answer_to_come_is_no_turn(said):
    assert parse_transcript(written(said) + "\n\nAssistant:") == turns(*said)


@given(text=st.text())
def test_no_text_makes_it_fail_and_none_comes_back_changed(text):
    for before in ("", "\n\nHuman: ", "\n\nHuman: a\n\nAssistant:"):
        found = parse_transcript(before + text)
        if found is not None:
            assert all(turn.content in before + text for turn in found)
            assert [turn.role for turn in found] == [turn.role for turn in turns(*"x" * len(found))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n\nHuman: a", turns("a")),
        ("\n\nHuman:a\n\nAssistant:b", turns("a", "b")),
        ("\n\n\n\nHuman: a", turns("a")),
        ("\n\nHuman: a\nHuman: b", turns("a\nHuman: b")),
        ("\n\nHuman: a\n\n\n\nAssistant:  b \n", turns("a", "b")),
        ("\n\nHuman: a\n\nAssistant:", turns("a")),
        ("", None),
        ("a", None),
        ("Human: a", None),
        ("a\n\nHuman: b", None),
        ("\n\nAssistant: a", None),
        ("\n\nHuman:", turns("")),
        ("\n\nHuman: \n\nAssistant:", turns("")),
        ("\n\nHuman:\n\nAssistant: a", turns("", "a")),
        ("\n\nHuman: a\n\nHuman: b", None),
        ("\n\nHuman: a\n\nAssistant: b\n\nAssistant:", None),
        ("\n\nHuman: a\n\nAssistant:\n\nHuman: b", turns("a", "", "b")),
    ],
)
def test_what_a_transcript_is(text, expected):
    assert parse_transcript(text) == expected


def test_only_what_begins_with_a_humans_turn_is_a_transcript():
    assert is_transcript("\n\nHuman: a")
    assert not any(map(is_transcript, ("Human: a", " \n\nHuman: a", "\n\nAssistant: a", "")))


THREE = "\0user\0a\0assistant\0b\0user\0c"


@pytest.mark.parametrize(
    ("prompt", "key", "conversation", "empty"),
    [
        (PromptText("a"), "a", turns("a"), False),
        (PromptText(" a\n"), "a", turns(" a\n"), False),
        (PromptText(" \n"), "", turns(" \n"), True),
        (PromptText(""), "", turns(""), True),
        (PromptText("written", turns("a", "b", "c")), THREE, turns("a", "b", "c"), False),
        (PromptText(turns=turns("a ", "b", "\nc")), THREE, None, False),
        (PromptText("written", turns("a")), "a", turns("a"), False),
        (PromptText(turns=turns("a")), "a", None, False),
        (PromptText(turns=turns("a", "b", " ")), THREE[:-1], None, True),
    ],
)
def test_a_prompt_has_a_key_a_conversation_and_words(prompt, key, conversation, empty):
    assert prompt.key == key
    assert prompt.conversation == (prompt.turns if conversation is None else conversation)
    assert prompt.empty == empty


@given(said=st.lists(WORDS, min_size=1, max_size=5).filter(lambda said: len(said) % 2))
def test_a_prompt_has_one_key_and_several_spellings(said):
    text = written(said) + "\n\nAssistant:"
    listed, transcript = (
        PromptText(turns=turns(*said)),
        PromptText(text, parse_transcript(text) or ()),
    )
    assert listed.key == transcript.key
    assert listed.spelling != transcript.spelling
    if len(said) == 1:
        assert PromptText(said[0]).key == listed.key
