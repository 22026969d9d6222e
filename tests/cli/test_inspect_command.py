"""`abcrl inspect`: everything about a source on the terminal, and nothing in it acts."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

ROWS = [
    {"prompt": f"Question {number}", "chosen": f" Yes, {number}.", "rejected": " No."}
    for number in range(40)
]


def write(name: str, rows: Sequence[object]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path(name).write_text(text, encoding="utf-8")


def test_a_source_is_shown_with_format_lengths_and_examples(abcrl):
    write("f.jsonl", ROWS)
    answer = abcrl("inspect", "f.jsonl", "--examples", "2")
    assert answer.code == 0
    assert answer.errors == ""
    for expected in (
        "rows      40",
        "format    pairs",
        "division  37 to train on, 3 held out; 40 of the rows can be used",
        "pairs     chosen has more characters in 100.0%",
        "No problem was found.",
    ):
        assert expected in answer.output.splitlines()
    shown = [line for line in answer.output.splitlines() if line.startswith("  prompt    Question")]
    assert len(shown) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["f.jsonl"]


def test_problems_are_no_failure(abcrl):
    write("f.jsonl", [*ROWS, *ROWS[:5], {"prompt": 5, "chosen": "a", "rejected": "b"}])
    answer = abcrl("inspect", "f.jsonl")
    assert answer.code == 0
    assert (
        "  5 rows: copies of an earlier row; left out (f.jsonl:41, f.jsonl:42, f.jsonl:43, ...)"
    ) in answer.output
    assert (
        "  1 row: prompt must be a string or a list of turns; refused (data.rows.bad=drop leaves "
        "out) (f.jsonl:46)"
    ) in answer.output


def test_columns_are_mapped_by_flags(abcrl):
    Path("f.csv").write_text("review,stars\ngood,5\nbad,1\nso,5\n", encoding="utf-8")
    answer = abcrl("inspect", "f.csv")
    assert answer.code == 1
    assert answer.errors == ""
    assert "format    none that is known" in answer.output
    assert "Problem: data.columns: " in answer.output
    flags = ["--text-column", "review", "--label-column", "stars", "--set", "data.labels=[1, 5]"]
    answer = abcrl("inspect", "f.csv", *flags, "--set", "data.validation_fraction=0.5")
    assert answer.code == 0
    assert "format    text" in answer.output
    assert "labels    5: 2, 1: 1" in answer.output


def test_with_a_tokenizer_special_tokens_are_marked(abcrl, tiny_tokenizer: PreTrainedTokenizerBase):
    tiny_tokenizer.save_pretrained("tokenizer")
    write("f.jsonl", [{"text": f"text {number} says <|pad|>"} for number in range(30)])
    answer = abcrl("inspect", "f.jsonl", "--tokenizer", "tokenizer", "--examples", "1")
    assert answer.code == 0
    assert "Examples, special tokens as «token»" in answer.output
    assert "says <|pad|>«<|endoftext|>»" in answer.output
    assert "30 rows: a text spells the special token <|pad|>; kept as words" in answer.output


HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] :smile: \u202eback \x00\x9b1m [link=x]y"


def test_nothing_that_a_file_says_acts_on_the_terminal(abcrl):
    rows = [{HOSTILE: HOSTILE, "text": f"{HOSTILE} {n}", "label": HOSTILE} for n in range(40)]
    write("f.jsonl", rows)
    answer = abcrl("inspect", "f.jsonl")
    assert answer.code == 0
    for control in ("\x1b", "\x07", "\u202e", "\x00", "\x9b"):
        assert control not in answer.output
    assert (
        r"\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] :smile: \u202eback \x00\x9b1m"
        in answer.output
    )


TURNS = [
    {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "b"}]}
    for n in range(60)
]


def test_rows_that_the_template_refuses_are_none_that_can_be_used(abcrl):
    write("f.jsonl", TURNS)
    answer = abcrl("inspect", "f.jsonl")
    assert answer.code == 1
    assert (
        "60 of the rows can be read, all of them refused as data.template stands, see Problems"
    ) in answer.output
    assert "60 rows: turns, for which data.template says no form; refused" in answer.output
    again = [*TURNS[0]["messages"], *TURNS[1]["messages"]]
    write("f.jsonl", [*TURNS, {"messages": again}])
    answer = abcrl("inspect", "f.jsonl", "--set", "data.template='Q: {prompt} A:{response}'")
    assert answer.code == 0
    assert "61 of the rows can be read, 1 of them refused as data.template stands" in answer.output


def test_a_chat_template_that_was_not_tried_is_no_clean_bill(abcrl):
    write("f.jsonl", TURNS)
    answer = abcrl("inspect", "f.jsonl", "--set", "data.template=chat")
    assert answer.code == 0
    assert "The chat template was not tried on the rows; name whose it is with --tokenizer." in (
        answer.output.splitlines()
    )
    assert "No problem was found." not in answer.output


def test_token_limits_are_told_beside_the_lengths(abcrl, tiny_tokenizer: PreTrainedTokenizerBase):
    tiny_tokenizer.save_pretrained("tokenizer")
    rows = [{"prompt": f"{n}", "response": "good " * 200 if n < 3 else "good"} for n in range(40)]
    write("f.jsonl", rows)
    answer = abcrl("inspect", "f.jsonl", "--tokenizer", "tokenizer", "--examples", "0")
    assert (
        "  training.max_length, by default 128: 3 of 40 rows have more, sft and train-rm leave "
        "them out"
    ) in answer.output.splitlines()
    assert "  prompt.max_tokens, by default 7: all of 40 prompts fit" in answer.output.splitlines()


def test_on_a_terminal_what_wraps_hangs_under_its_beginning(abcrl, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    words = " ".join(f"word{number}" for number in range(40))
    rows = [{"prompt": f"{n} {words}", "response": "x" * 200} for n in range(40)]
    write("f.jsonl", [*rows, *({"prompt": 5, "response": "b"} for _ in range(9))])
    answer = abcrl("inspect", "f.jsonl", "--examples", "1")
    lines = answer.output.splitlines()
    assert all(len(line) <= 80 for line in lines if "\x1b" not in line)
    lines = lines[lines.index("Examples") :]
    begin = next(number for number, line in enumerate(lines) if line.startswith("  prompt    "))
    hanging = lines[begin + 1 : begin + 4]
    assert all(line.startswith(f"{'':12}word") for line in hanging)
    at = next(number for number, line in enumerate(lines) if line.startswith("  response  x"))
    assert [line.strip() for line in lines[at + 1 : at + 3]] == ["x" * 68, "x" * 64]
    [problem, rest] = lines[lines.index("Problems") + 1 :]
    assert problem.startswith("  9 rows: prompt must be a string or a list of turns; refused")
    assert rest.startswith("    ")
    assert rest.endswith("f.jsonl:43, ...)")


def test_long_examples_are_shortened_in_the_middle(abcrl):
    words = " ".join(str(number) for number in range(2000))
    write("f.jsonl", [{"text": words}, {"text": "short"}])
    answer = abcrl("inspect", "f.jsonl")
    [line] = [line for line in answer.output.splitlines() if line.startswith("  text      0 1 2")]
    assert line.endswith(" 1998 1999")
    assert f"[... {len(words) - 800:,} characters ...]" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["absent.jsonl"], "data.source: the file must exist"),
        (["f.tsv"], "data.source: must be toy, a file"),
        (["f.jsonl", "--validation", "absent.csv"], "data.validation: the file must exist"),
        (["f.jsonl", "--split", "test"], "data: split must be left out unless"),
        (["f.jsonl", "--examples", "-1"], "examples: must be greater than or equal to 0"),
        (["f.jsonl", "--tokenizer", "./absent"], "tokenizer: must be a folder that holds"),
        (["f.gz"], "data.source: must be toy, a file"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused(refuse, arguments, expected):
    content = {"f.jsonl": '{"text": "a"}\n'}
    assert refuse("inspect", *arguments, files=content).startswith(expected)


def test_a_configuration_file_may_say_it_all(abcrl):
    write("f.jsonl", [{"body": f"text {number}"} for number in range(60)])
    Path("recipe.yaml").write_text(
        "data: {source: f.jsonl, columns: {text: body}}\nexamples: 1\n", encoding="utf-8"
    )
    answer = abcrl("inspect", "--config", "recipe.yaml")
    assert answer.code == 0
    assert "format    text" in answer.output
    dry = abcrl("inspect", "--config", "recipe.yaml", "--dry-run")
    assert dry.code == 0
    assert "    text: body" in dry.output


def test_without_a_tokenizer_nothing_heavy_is_loaded(abcrl, tmp_path):
    write("f.jsonl", ROWS)
    probe = (
        "import sys; from importlib.metadata import entry_points\n"
        "[script] = entry_points(group='console_scripts', name='abcrl')\n"
        "try: script.load()(['inspect', 'f.jsonl'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert answer.stdout.splitlines()[-1] == "[]"
