"""compare --against with a wrong file, name or form: refused before anything is made."""

import json
from pathlib import Path

import pytest

CURVES = json.dumps({"imdb": {"abc": [[1.0]]}, "lengths": {"20-30/abc": [[1.0]]}, "odd": {"a": 1}})


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("none.json:imdb", "must be a JSON file of curves, received none.json (No such file"),
        ("curves.json", "with NAME one of imdb, lengths/20-30, odd, received 'curves.json'; e.g."),
        ("curves.json:imbd", "(imdb, lengths/20-30, odd), received 'imbd'; did you mean imdb?"),
        ("curves.json:odd", "odd a: must be a list for each seed, each of finite numbers"),
        ("text.md:imdb", "must be a JSON file of curves, received text.md ("),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_the_line_says_what_there_is(refuse, against, said, flags):
    files = {"curves.json": CURVES, "text.md": "# imdb\n"}
    line = refuse("compare", "--output", "new", "--against", against, *flags, files=files)
    assert line.startswith("--against: ")
    assert said in line
    assert not Path("new").exists()


def test_curves_of_none_of_the_arms_are_refused(refuse):
    line = refuse(
        *["compare", "--modes", "rlhf,uniform", "--against", "curves.json:imdb"],
        files={"curves.json": CURVES},
    )
    assert line.startswith("--against: must have curves of an arm compared here (rlhf, uniform")
