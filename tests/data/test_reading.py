"""What is left out of a source is counted and told; a bad row is refused with all the others."""

import gzip
import json

import pytest

from abcrl.config import InputError
from abcrl.data import Example, load_corpus, load_pairs, read_corpus
from abcrl.data.formats import LABELLED, LOOK_AHEAD, PAIRS, PROMPTS, TEXTS
from abcrl.data.reading import CONTRADICTORY
from tests.data.rows import config_of, read_rows, write_rows

COPIES = "copies of an earlier row"


def lines_of(file, **options) -> list[str]:
    """Returns what is told of a file, whatever is in it."""
    told: list[str] = []
    read_corpus(config_of(file, validation_fraction=0.3, **options), told.append)
    return told


def numbered(count: int) -> list[dict[str, object]]:
    return [{"text": f"text {number}", "label": number % 2} for number in range(count)]


@pytest.mark.parametrize("use", [TEXTS, LABELLED, PROMPTS])
def test_copies_are_left_out_whatever_is_read(tmp_path, use):
    rows = [{"id": number, "text": "ab"[number % 2], "label": 1} for number in range(5)]
    rows.append({"id": 5, "text": "a", "label": 0})
    file = write_rows(tmp_path / "f.jsonl", rows)
    records, left_out = read_rows(file, use)
    assert [record.key for record in records] == ["a", "b", "a"]
    assert left_out == {COPIES: 3}
    assert len(read_rows(file, use, rows={"duplicates": "keep"})[0]) == 6


def test_conversations_are_compared_by_what_they_say(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"content": "b", "role": "assistant"}]
    other = [{"role": "user", "content": "a"}, {"content": "c", "role": "assistant"}]
    swapped = [dict(reversed(turn.items())) for turn in turns]
    rows = [{"messages": messages} for messages in (turns, other, swapped)]
    records, left_out = read_rows(write_rows(tmp_path / "f.jsonl", rows), TEXTS)
    assert len(records) == 2
    assert left_out == {COPIES: 1}


@pytest.mark.parametrize(
    ("rows", "low", "high"),
    [
        ([{"text": "x" * size} for size in (3, 4, 5, 6)], 4, 5),
        ([{"prompt": "pp", "response": "x" * size} for size in (1, 2, 3, 4)], 4, 5),
        ([{"prompt": "p" * size} for size in (3, 4, 5, 6)], 4, 5),
        # Of a pair both sides must be long enough and short enough.
        (
            [
                {"prompt": "pp", "chosen": "x" * one, "rejected": "y" * other}
                for one, other in ((1, 3), (2, 3), (3, 2), (2, 4))
            ],
            4,
            5,
        ),
    ],
)
def test_what_is_too_short_or_too_long_is_left_out(tmp_path, rows, low, high):
    file = write_rows(tmp_path / "f.jsonl", rows)
    bounds = {"min_characters": low, "max_characters": high}
    records, left_out = read_rows(file, PROMPTS, rows=bounds)
    assert len(records) == 2
    expected = {f"shorter than {low} characters": 1, f"longer than {high} characters": 1}
    assert left_out == expected


def test_conversations_of_too_many_turns_are_left_out(tmp_path):
    def messages(count: int) -> list[dict[str, str]]:
        said = [
            {"role": ("user", "assistant")[n % 2], "content": f"{count} {n}"}
            for n in range(2 * count)
        ]
        return [{"role": "system", "content": "s"}, *said]

    rows = [{"messages": messages(count)} for count in (1, 2, 3)]
    file = write_rows(tmp_path / "f.jsonl", rows)
    assert [len(read_rows(file, TEXTS, rows={"max_turns": n})[0]) for n in (1, 2, 3)] == [1, 2, 3]
    assert read_rows(file, TEXTS, rows={"max_turns": 1})[1] == {"more than one turn": 2}
    assert read_rows(write_rows(file, [{"text": "a"}]), TEXTS, rows={"max_turns": 1})[1] == {}


def test_all_reasons_are_told_with_counts_and_first_places(tmp_path):
    rows = [*numbered(20), *numbered(5), {"text": " ", "label": 0}, {"text": "x" * 99, "label": 0}]
    file = write_rows(tmp_path / "f.jsonl", rows)
    assert lines_of(file, rows={"max_characters": 90}) == [
        "data: 5 rows left out: copies of an earlier row (f.jsonl:21, f.jsonl:22, f.jsonl:23, ...)",
        "data: 1 row left out: empty text (f.jsonl:26)",
        "data: 1 row left out: longer than 90 characters (f.jsonl:27)",
    ]
    corpus = load_corpus(config_of(file, validation_fraction=0.3))
    assert len(corpus.left_out) == 6
    assert corpus.left_out["empty text"].places == ("f.jsonl:26",)
    assert corpus.left_out["nothing like it"].count == 0
    assert list(corpus.notes()) == lines_of(file)


def test_nothing_is_told_where_nothing_is_left_out(tmp_path):
    assert lines_of(write_rows(tmp_path / "f.jsonl", numbered(20))) == []


def test_the_same_text_with_both_labels_is_kept_and_told(tmp_path):
    rows = [*numbered(30), {"text": "text 3", "label": 0}, {"text": "text 4", "label": 1}]
    config = config_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.4)
    corpus = load_corpus(config, labelled=True)
    assert len(corpus.train) + len(corpus.validation) == 32
    assert list(corpus.notes()) == [
        "data: 2 rows kept, though contradictory to an earlier one (f.jsonl:31, f.jsonl:32)"
    ]
    assert list(load_corpus(config).notes()) == []


def test_a_pair_and_its_reverse_are_kept_and_told(tmp_path):
    rows = [{"prompt": "p", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(20)]
    for number, row in enumerate(rows):
        row["prompt"] = f"p{number}"
    rows.append({"prompt": "p7", "chosen": "b7", "rejected": "a7"})
    rows.append({"prompt": "p8", "chosen": "b7", "rejected": "a7"})
    file = write_rows(tmp_path / "f.jsonl", rows)
    corpus = load_pairs(config_of(file, validation_fraction=0.4))
    assert len(corpus.train) + len(corpus.validation) == 22
    assert corpus.kept[CONTRADICTORY].count == 1
    assert corpus.kept[CONTRADICTORY].places == ("f.jsonl:21",)


BAD = ['{"text": ', '{"text": 5}', '{"body": "a"}', "[1]", '{"text": "\\ud800"}', "5"]


def test_a_refusal_names_the_first_bad_row_and_counts_the_others(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", ['{"text": "a"}', *BAD, '{"text": "b"}'])
    with pytest.raises(InputError) as refused:
        read_rows(file, TEXTS)
    message = str(refused.value)
    assert message.startswith(
        f"{file}:2: must be a JSON object on one line, received '{{\"text\":'"
    )
    assert message.endswith(
        "; mend or remove the line, or leave such rows out with --set data.rows.bad=drop "
        "(5 rows more: lines 3, 4, 5, ...)"
    )
    write_rows(file, ['{"text": "a"}', *BAD[1:3]])
    with pytest.raises(InputError, match=r"\(1 row more: line 3\)$"):
        read_rows(file, TEXTS)


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [*map(json.dumps, numbered(20)), *BAD])
    assert lines_of(file, rows={"bad": "drop"}) == [
        "data: 3 rows left out: must be a JSON object on one line (f.jsonl:21, f.jsonl:24, "
        "f.jsonl:26)",
        "data: 1 row left out: text must be a string (f.jsonl:22)",
        "data: 1 row left out: must have the field 'text' (f.jsonl:23)",
        "data: 1 row left out: text must be valid Unicode (f.jsonl:25)",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", b'{"text": "a"}\n\xff\n{"text": "b"}\n{"text": "caf\xe9"}\n'),
        ("f.csv", b"text\na\n\xff\nb\ncaf\xe9\n"),
        ("f.txt", b"a\n\xff\nb\ncaf\xe9\n"),
    ],
)
def test_reading_goes_on_behind_a_line_that_is_no_utf_8(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    records, left_out = read_rows(file, TEXTS, rows={"bad": "drop"})
    assert records == [Example("a"), Example("b")]
    assert left_out == {"must be UTF-8": 2}
    with pytest.raises(InputError, match=r"must be UTF-8, received the byte 0xff.*1 row more: li"):
        read_rows(file, TEXTS)


def test_reading_goes_on_behind_a_broken_record(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text('text\na\n"b" c\nd,e\nf\n', encoding="utf-8")
    records, left_out = read_rows(file, TEXTS, rows={"bad": "drop"})
    assert records == [Example("a"), Example("f")]
    assert sum(left_out.values()) == len(left_out) == 2


def test_a_file_that_breaks_off_is_refused_though_bad_rows_are_dropped(tmp_path):
    file = tmp_path / "f.jsonl.gz"
    rows = "".join(json.dumps(row) + "\n" for row in numbered(5000))
    file.write_bytes(gzip.compress(rows.encode())[:-2000])
    with pytest.raises(InputError, match="must be a whole gzip file"):
        read_rows(file, TEXTS, rows={"bad": "drop"})


def test_a_source_of_which_nothing_is_used_is_refused_with_the_reasons(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", ['{"text": " "}', '{"text": 5}'])
    with pytest.raises(InputError) as refused:
        load_corpus(config_of(file, rows={"bad": "drop"}))
    assert str(refused.value) == (
        f"data.source: must hold at least two texts, received {file} with none that is used "
        f"(empty text, text must be a string); give another"
    )
    write_rows(file, ["5", "6"])
    with pytest.raises(InputError, match=r"f\.jsonl:1: must be a JSON object"):
        load_pairs(config_of(file))
    with pytest.raises(InputError, match=r"must hold at least two texts, .* \(must be a JSON ob"):
        load_pairs(config_of(file, rows={"bad": "drop"}))


def test_the_first_readable_row_tells_the_columns(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", ["{", '{"chosen": "a", "rejected": "b"}'])
    records, left_out = read_rows(file, PAIRS, rows={"bad": "drop"})
    assert len(records) == 1
    assert sum(left_out.values()) == 1


GOOD_ROW = {"prompt": "a", "response": "b"}


@pytest.mark.parametrize("first", [{"txt": 1}, {"prompt": "c"}])
@pytest.mark.parametrize("use", [TEXTS, PROMPTS])
def test_a_first_row_that_lacks_what_the_others_have_is_the_bad_one(tmp_path, first, use):
    rows = [first, *({**GOOD_ROW, "id": number} for number in range(40))]
    file = write_rows(tmp_path / "f.jsonl", rows)
    with pytest.raises(InputError, match=r"f\.jsonl:1: must have the field '(prompt|response)', "):
        read_rows(file, use)
    records, left_out = read_rows(file, use, rows={"bad": "drop", "duplicates": "keep"})
    assert len(records) == 40
    assert sum(left_out.values()) == 1


def test_columns_of_single_rows_decide_nothing(tmp_path):
    rows = [{"text": f"{number}"} for number in range(9)] + [{"text": "a", "chosen": "b"}]
    assert len(read_rows(write_rows(tmp_path / "f.jsonl", rows), PROMPTS)[0]) == 10


def test_nothing_behind_the_rows_that_are_looked_at_changes_the_columns(tmp_path):
    rows = [{"text": f"{number}"} for number in range(LOOK_AHEAD)] + [GOOD_ROW] * 900
    file = write_rows(tmp_path / "f.jsonl", rows)
    records, left_out = read_rows(file, PROMPTS, rows={"bad": "drop"})
    assert len(records) == LOOK_AHEAD
    assert left_out == {"must have the field 'text'": 900}


def test_rows_are_found_behind_many_that_cannot_be_read(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", ["{"] * (LOOK_AHEAD + 5) + ['{"text": "a"}'])
    assert read_rows(file, TEXTS, rows={"bad": "drop"})[0] == [Example("a")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", '{"text": "a"}\n\n \n{"text": "b"}\n'),
        ("f.csv", "\ntext\na\n\n\nb\n"),
    ],
)
def test_blank_lines_are_left_out_and_counted(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    assert read_rows(file, TEXTS) == ([Example("a"), Example("b")], {"blank line": 2})


def unbalanced(file, end: str) -> None:
    """Writes records of which the fifth opens a quote that lines 6 to 155 go on in."""
    numbered = [f"text {number},{number % 2}\n" for number in range(160)]
    lines = [*numbered[:4], '"open,0\n', *numbered[4:154], end, *numbered[154:]]
    file.write_text("text,label\n" + "".join(lines), encoding="utf-8")


def test_a_record_of_many_lines_is_kept_and_told(tmp_path):
    file = tmp_path / "f.csv"
    unbalanced(file, 'end",0\n')
    assert lines_of(file) == [
        "data: 1 row kept, though of more than 100 lines, as where a quote is missing (f.csv:6-157)"
    ]
    file.write_text('text,label\n"a\nb\nc",0\n' + "".join(f"{n},1\n" for n in range(20)))
    assert lines_of(file) == []


@pytest.mark.parametrize(
    ("end", "received"),
    [('"great",0\n', "one of 152 lines"), ('end",0,1\n', "3 over 152 lines")],
)
def test_a_bad_record_says_how_many_lines_it_took(tmp_path, end, received):
    file = tmp_path / "f.csv"
    unbalanced(file, f"so {end}" if end.startswith('"') else end)
    with pytest.raises(InputError, match=rf"f\.csv:6: must .*, received {received}; mend or remo"):
        read_rows(file, TEXTS)
    [line] = lines_of(file, rows={"bad": "drop"})
    assert line.endswith("(f.csv:6-157)")
