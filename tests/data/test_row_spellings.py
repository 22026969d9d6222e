"""Margins, pairs without a prompt column, and the same conversation in every spelling and file."""

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import InputError
from abcrl.data import Example, Pair
from abcrl.data.formats import PAIRS, TEXTS
from tests.data.rows import read_rows, write_rows

ASKED = "\n\nHuman: a\n\nAssistant:"


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def assistant(content: object) -> dict[str, object]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0.0), (2, 2.0), ("1.5", 1.5), (0.25, 0.25), (1e300, 1e300)]
)
def test_a_margin_is_a_number_from_zero(tmp_path, value, expected):
    row = {"chosen": "b", "rejected": "c", "stars": value}
    file = write_rows(tmp_path / "f.jsonl", [row])
    [pair], _ = read_rows(file, PAIRS, columns={"margin": "stars"})
    assert pair == Pair(None, "b", "c", expected)
    assert read_rows(file, PAIRS)[0] == [Pair(None, "b", "c")]


@pytest.mark.parametrize("value", [-1, None, "much", True, float("nan"), float("inf"), [1]])
def test_a_margin_that_is_none_is_a_bad_row(tmp_path, value):
    row = {"chosen": "b", "rejected": "c", "stars": value}
    file = write_rows(tmp_path / "f.jsonl", [row])
    with pytest.raises(InputError, match=r":1: stars must be a number from 0, received"):
        read_rows(file, PAIRS, columns={"margin": "stars"})


def test_all_pairs_have_a_prompt_or_none_where_no_column_gives_it(tmp_path):
    written = {"chosen": f"{ASKED} b", "rejected": f"{ASKED} c"}
    plain = {"chosen": "b", "rejected": "c"}
    for rows, rule in (
        ([written, plain], "must begin with a prompt, as the first row does, received none"),
        ([plain, written], "must begin with no prompt, as the first row does, received one"),
        ([plain, {**plain, "prompt": "a"}], "must not have the field 'prompt', which the first"),
        ([{**plain, "prompt": "a"}, plain], "must have the field 'prompt', received chosen, rej"),
    ):
        file = write_rows(tmp_path / "f.jsonl", rows)
        with pytest.raises(InputError) as refused:
            read_rows(file, PAIRS)
        assert str(refused.value).startswith(f"{file}:2: {rule}")


WORDS = st.text(min_size=1).filter(lambda text: text.strip() and "\n\n" not in text)


@given(
    said=st.lists(WORDS, min_size=1, max_size=5).filter(lambda said: len(said) % 2), answer=WORDS
)
def test_lists_and_transcripts_of_a_conversation_say_the_same(tmp_path_factory, said, answer):
    listed = [(user if n % 2 == 0 else assistant)(words) for n, words in enumerate(said)]
    markers = ("\n\nHuman: ", "\n\nAssistant: ")
    text = "".join(markers[n % 2] + words for n, words in enumerate(said)) + "\n\nAssistant:"
    file = tmp_path_factory.mktemp("any") / "f.jsonl"
    write_rows(file, [{"messages": [*listed, assistant(answer)]}, {"messages": text + answer}])
    (first, second), _ = read_rows(file, TEXTS)
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert first.text == second.text == answer
    assert first.prompt is not None
    assert second.prompt is not None
    assert second.prompt.text == text
    assert [turn.content.strip() for turn in first.prompt.turns] == [
        turn.content for turn in second.prompt.turns
    ]


def test_the_same_rows_come_from_every_kind_of_file(tmp_path):
    rows = [
        {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]},
        {"prompt": [user("d")], "chosen": [assistant("e")], "rejected": [assistant("f")]},
    ]
    written = write_rows(tmp_path / "f.jsonl", rows)
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "f.parquet")
    table.save_to_disk(tmp_path / "saved")
    [arrow] = (tmp_path / "saved").glob("*.arrow")
    expected = read_rows(written, PAIRS)
    assert len(expected[0]) == 2
    assert read_rows(tmp_path / "f.parquet", PAIRS) == expected
    assert read_rows(arrow, PAIRS) == expected


def test_a_csv_file_holds_pairs_as_strings(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text("chosen,rejected,margin\nb,c,2\n", encoding="utf-8")
    assert read_rows(file, PAIRS, columns={"margin": "margin"})[0] == [Pair(None, "b", "c", 2.0)]
