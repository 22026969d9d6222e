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
    assert answer.code == 0
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


HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eback \x00\x9b1m [link=x]y"


def test_nothing_that_a_file_says_acts_on_the_terminal(abcrl):
    rows = [
        {HOSTILE: HOSTILE, "text": f"{HOSTILE} {number}", "label": HOSTILE} for number in (1, 2)
    ]
    write("f.jsonl", rows)
    answer = abcrl("inspect", "f.jsonl")
    assert answer.code == 0
    for control in ("\x1b", "\x07", "\u202e", "\x00", "\x9b"):
        assert control not in answer.output
    assert r"\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eback \x00\x9b1m" in answer.output


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
