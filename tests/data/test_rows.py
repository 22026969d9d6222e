"""What a row becomes in each format, what is a bad row, and what is left out."""

import pytest

from abcrl.config import InputError
from abcrl.data import Example, Pair
from abcrl.data.formats import LABELLED, PAIRS, PROMPTS, TEXTS, Use
from abcrl.dialogue import PromptText, Turn
from tests.data.rows import read_rows, write_rows

ASKED = "\n\nHuman: a\n\nAssistant:"


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def assistant(content: object) -> dict[str, object]:
    return {"role": "assistant", "content": content}


def system(content: object) -> dict[str, object]:
    return {"role": "system", "content": content}


def turns(*said: str) -> tuple[Turn, ...]:
    return tuple(Turn(("user", "assistant")[n % 2], words) for n, words in enumerate(said))


PLAIN = PromptText("a")
LISTED = PromptText(turns=turns("a"))
WRITTEN = PromptText(ASKED, turns("a"))

READ: list[tuple[Use, dict[str, object], Example | Pair]] = [
    (TEXTS, {"text": " a "}, Example(" a ")),
    (LABELLED, {"text": "a", "label": 1}, Example("a", 1)),
    (PROMPTS, {"prompt": "a"}, Example("", prompt=PLAIN)),
    (PROMPTS, {"prompt": [user("a")]}, Example("", prompt=LISTED)),
    (TEXTS, {"prompt": "a", "response": " b"}, Example(" b", prompt=PLAIN)),
    (TEXTS, {"prompt": "a", "response": [assistant("b")]}, Example("b", prompt=PLAIN)),
    (TEXTS, {"prompt": ASKED, "response": " b"}, Example(" b", prompt=WRITTEN)),
    (LABELLED, {"prompt": "a", "response": "b", "label": 0}, Example("b", 0, PLAIN)),
    (
        TEXTS,
        {"prompt": [user("a")], "response": [user("a"), assistant("b")]},
        Example("b", prompt=LISTED),
    ),
    (TEXTS, {"messages": [user("a"), assistant("b")]}, Example("b", prompt=LISTED)),
    (TEXTS, {"messages": f"{ASKED} b"}, Example(" b", prompt=WRITTEN)),
    (
        TEXTS,
        {"messages": [system("s"), user("a"), assistant("b"), user("c"), assistant("d")]},
        Example("d", prompt=PromptText(turns=(Turn("system", "s"), *turns("a", "b", "c")))),
    ),
    (PAIRS, {"prompt": "a", "chosen": "b", "rejected": "c"}, Pair(PLAIN, "b", "c")),
    (
        PAIRS,
        {"prompt": "a", "chosen": [user("a"), assistant("b")], "rejected": [assistant("c")]},
        Pair(PLAIN, "b", "c"),
    ),
    (PAIRS, {"chosen": "b", "rejected": "c"}, Pair(None, "b", "c")),
    (PAIRS, {"chosen": [assistant("b")], "rejected": [assistant("c")]}, Pair(None, "b", "c")),
    (
        PAIRS,
        {"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        Pair(LISTED, "b", "c"),
    ),
    (PAIRS, {"chosen": f"{ASKED} b", "rejected": f"{ASKED} c"}, Pair(WRITTEN, " b", " c")),
    # A marker in the middle of something else, or at the end of it, is words.
    (PROMPTS, {"prompt": f"b{ASKED}"}, Example("", prompt=PromptText(f"b{ASKED}"))),
    (PROMPTS, {"prompt": "\n\nHuman: a"}, Example("", prompt=PromptText("\n\nHuman: a"))),
    (TEXTS, {"text": f"{ASKED}{ASKED}"}, Example(f"{ASKED}{ASKED}")),
]


@pytest.mark.parametrize(("use", "row", "expected"), READ)
def test_each_format_is_read_as_what_it_says(tmp_path, use, row, expected):
    assert read_rows(write_rows(tmp_path / "f.jsonl", [row]), use) == ([expected], {})


ALTERNATE = "must alternate between user and assistant, after the system's turn, received"

BAD = [
    (TEXTS, "text", {}, 5, "text must be a string, received 5;"),
    (TEXTS, "text", {}, None, "text must be a string, received None;"),
    (TEXTS, "text", {}, [user("a")], "text must be a string, received [{"),
    (TEXTS, "text", {}, "\ud800", "text must be valid Unicode, received a lone surrogate;"),
    (LABELLED, "label", {"text": "a"}, 3, "label must be 0 or 1, received 3; name the two values"),
    (PROMPTS, "prompt", {}, 5, "prompt must be a string or a list of turns, received 5;"),
    (PROMPTS, "prompt", {}, {"role": "user"}, "prompt must be a string or a list of turns"),
    (PROMPTS, "prompt", {}, "\ud800", "prompt must be valid Unicode"),
    (PROMPTS, "prompt", {}, [], "prompt must hold at least one turn, received an empty list;"),
    (PROMPTS, "prompt", {}, ["a"], "prompt must hold turns with role and content, received 'a';"),
    (PROMPTS, "prompt", {}, [{"role": "user"}], "prompt must hold turns with role and content"),
    (PROMPTS, "prompt", {}, [user(None)], "prompt: content must be a string, received None;"),
    (PROMPTS, "prompt", {}, [user("\ud800")], "prompt: content must be valid Unicode"),
    (
        PROMPTS,
        "prompt",
        {},
        [{"role": "human", "content": "a"}],
        "prompt must hold turns whose role is system, user or assistant, received 'human';",
    ),
    (PROMPTS, "prompt", {}, [user("a"), user("b")], f"prompt {ALTERNATE} user, user;"),
    (PROMPTS, "prompt", {}, [assistant("a")], f"prompt {ALTERNATE} assistant;"),
    (
        PROMPTS,
        "prompt",
        {},
        [user("a"), assistant("b")],
        "prompt must end with a turn of the user, received assistant;",
    ),
    (
        PROMPTS,
        "prompt",
        {},
        [user("a"), system("b"), assistant("c"), user("d")],
        f"prompt {ALTERNATE} user, system, assistant, user;",
    ),
    (PROMPTS, "prompt", {}, [system("a")], "prompt must end with a turn of the user"),
    (TEXTS, "response", {"prompt": "a"}, 5, "response must be a string or a list of turns"),
    (TEXTS, "response", {"prompt": "a"}, [user("b")], f"response {ALTERNATE} user;"),
    (
        TEXTS,
        "response",
        {"prompt": "a"},
        [user("b"), assistant("c")],
        "response must be the one turn that answers, or begin with the prompt's turns, received 2",
    ),
    (TEXTS, "messages", {}, 5, "messages must be a string or a list of turns, received 5;"),
    (TEXTS, "messages", {}, "a", "messages must be a list of turns, or a transcript that begins"),
    (TEXTS, "messages", {}, [user("a")], "messages must end with a turn of the assistant"),
    (TEXTS, "messages", {}, [assistant("a")], f"messages {ALTERNATE} assistant;"),
    (PAIRS, "chosen", {"rejected": "a"}, 5, "chosen must be a string, received 5;"),
    (PAIRS, "rejected", {"chosen": "a"}, None, "rejected must be a string, received None;"),
    (
        PAIRS,
        "chosen",
        {"rejected": "a"},
        [assistant("b")],
        "chosen and rejected must both be strings or both be lists of turns, received one of each;",
    ),
    (
        PAIRS,
        "rejected",
        {"chosen": [user("a"), assistant("b")]},
        [user("a")],
        "rejected must end with a turn of the assistant, received user;",
    ),
    (
        PAIRS,
        "rejected",
        {"chosen": [user("a"), assistant("b")]},
        [assistant("c")],
        f"rejected {ALTERNATE} assistant;",
    ),
    (
        PAIRS,
        "rejected",
        {"prompt": "a", "chosen": "b"},
        [user("c")],
        f"rejected {ALTERNATE} user;",
    ),
]


@pytest.mark.parametrize(("use", "column", "others", "value", "expected"), BAD)
def test_a_bad_value_is_named_by_line_and_rule_or_left_out(
    tmp_path, use, column, others, value, expected
):
    good = next(row for one, row, _ in READ if one is use and row.keys() == {column, *others})
    rows = [good, {**others, column: value}]
    file = write_rows(tmp_path / "f.jsonl", rows)
    with pytest.raises(InputError) as refused:
        read_rows(file, use)
    message = str(refused.value)
    assert message.startswith(f"{file}:2: {expected}")
    assert message.endswith(", or leave such rows out with --set data.rows.bad=drop")
    assert len(message.split("\n")) == 1
    records, left_out = read_rows(file, use, rows={"bad": "drop"})
    assert len(records) == 1
    assert sum(left_out.values()) == 1
    assert expected.startswith(next(iter(left_out))[:30])


@pytest.mark.parametrize(
    ("use", "row", "reason"),
    [
        (TEXTS, {"text": " \n\u2028"}, "empty text"),
        (TEXTS, {"prompt": "a", "response": ""}, "empty response"),
        (TEXTS, {"prompt": " ", "response": "a"}, "empty prompt"),
        (TEXTS, {"messages": [user("a"), assistant(" ")]}, "empty response"),
        (TEXTS, {"messages": ASKED}, "empty response"),
        (PROMPTS, {"prompt": "\t"}, "empty prompt"),
        (PROMPTS, {"prompt": [user(" ")]}, "empty prompt"),
        (PAIRS, {"prompt": "a", "chosen": "b", "rejected": ""}, "empty response"),
        (PAIRS, {"prompt": "", "chosen": "b", "rejected": "c"}, "empty prompt"),
        (PAIRS, {"chosen": " ", "rejected": "c"}, "empty text"),
        (PAIRS, {"chosen": f"{ASKED} b", "rejected": ASKED}, "empty response"),
        (PAIRS, {"chosen": "b", "rejected": "b"}, "chosen and rejected are the same"),
        (PAIRS, {"chosen": " b", "rejected": "b\n"}, "chosen and rejected are the same"),
        (
            PAIRS,
            {"chosen": f"{ASKED} b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
            "the two sides answer different prompts",
        ),
        (
            PAIRS,
            {"chosen": f"{ASKED} b", "rejected": "c"},
            "the two sides answer different prompts",
        ),
        (
            PAIRS,
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
            "the two sides answer different prompts",
        ),
        (
            PROMPTS,
            {"prompt": "\n\nHuman: I say:\n\nHuman: b\n\nAssistant:"},
            "role markers out of order",
        ),
        (PROMPTS, {"prompt": f"{ASKED} b\n\nAssistant:"}, "role markers out of order"),
        (TEXTS, {"messages": f"{ASKED} b\n\nHuman: c"}, "role markers out of order"),
        (TEXTS, {"messages": "\n\nHuman: a"}, "a transcript without an answer"),
        (
            PAIRS,
            {"chosen": f"{ASKED} b\n\nHuman: c", "rejected": f"{ASKED} b"},
            "role markers out of order",
        ),
    ],
)
def test_what_is_of_no_use_is_left_out_with_its_reason(tmp_path, use, row, reason):
    file = write_rows(tmp_path / "f.jsonl", [row])
    assert read_rows(file, use) == ([], {reason: 1})


def test_a_prompt_in_which_nothing_is_said_is_told_from_turns_in_which_nothing_is(tmp_path):
    empty, within = "\n\nHuman: \n\nAssistant:", f"{ASKED} \n\nHuman: b\n\nAssistant:"
    file = write_rows(tmp_path / "f.jsonl", [{"prompt": empty}, {"prompt": within}])
    expected = {"empty prompt": 1, "a turn in which nothing is said": 1}
    assert read_rows(file, PROMPTS) == ([], expected)


def test_white_space_behind_the_last_marker_is_part_of_a_transcript(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [{"prompt": f"{ASKED} \n"}])
    expected = Example("", prompt=PromptText(f"{ASKED} \n", turns("a")))
    assert read_rows(file, PROMPTS) == ([expected], {})


@pytest.mark.parametrize(
    ("row", "use", "expected"),
    [
        ({"chosen": f"{ASKED} b", "rejected": f"{ASKED} c"}, PAIRS, Pair(WRITTEN, " b", " c")),
        # Of one side alone nobody can tell.
        ({"chosen": f"{ASKED} b", "rejected": " c"}, PAIRS, Pair(WRITTEN, f"{ASKED} b", " c")),
        ({"response": f"{ASKED} b"}, TEXTS, Example(" b", prompt=WRITTEN)),
        ({"prompt": "a", "response": "a b"}, TEXTS, Example("a b", prompt=PLAIN)),
    ],
)
def test_a_transcript_that_its_answers_repeat_is_taken_off(tmp_path, row, use, expected):
    file = write_rows(tmp_path / "f.jsonl", [{"prompt": ASKED, **row}])
    assert read_rows(file, use) == ([expected], {})
