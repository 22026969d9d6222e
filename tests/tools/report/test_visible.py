import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.tools.report.visible import visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b> & \"c\" 'd'", "a <b> & \"c\" 'd'"),
        ("tab\tline\nspace\u00a0\u3000", "tab\tline\nspace\u00a0\u3000"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\u202eback\u2066", r"\u202eback\u2066"),
        ("\x00\r\x9b\x7f", r"\x00\r\x9b\x7f"),
        ("half \ud83d", r"half \ud83d"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("para\u2029graph", r"para\u2029graph"),
        ("גדול 字 😀 e\u0301", "גדול 字 😀 e\u0301"),
    ],
)
def test_what_acts_is_spelled_out_and_all_else_stays(text, shown):
    assert visible(text) == shown


@given(ANY_TEXT)
def test_what_comes_out_shows_and_can_be_written(text):
    shown = visible(text)
    shown.encode()
    kinds = {unicodedata.category(char) for char in shown if char not in "\n\t"}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible(shown) == shown
