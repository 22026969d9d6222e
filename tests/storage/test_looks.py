"""What somebody has seen of a comparison stays on record."""

import pytest

from abcrl.storage import LOOKS, Look, append_look, read_looks

FIRST = Look((0, 1, 2), (("abc", "rlhf"), ("abc", "shuffled")))
SECOND = Look((0, 1, 2, 3), (("abc", "rlhf"),))


def test_where_nobody_has_looked_there_are_no_looks(tmp_path):
    assert read_looks(tmp_path) == []
    assert read_looks(tmp_path / "absent") == []


def test_looks_are_read_back_oldest_first(tmp_path):
    append_look(tmp_path, FIRST)
    append_look(tmp_path, SECOND)
    assert read_looks(tmp_path) == [FIRST, SECOND]
    assert [path.name for path in tmp_path.iterdir()] == [LOOKS]


def test_a_look_at_the_same_again_is_no_other(tmp_path):
    for look in (FIRST, FIRST, SECOND, SECOND, FIRST):
        append_look(tmp_path, look)
    assert read_looks(tmp_path) == [FIRST, SECOND, FIRST]


def test_a_comparison_without_contrasts_was_looked_at_too(tmp_path):
    append_look(tmp_path, Look((4,), ()))
    assert read_looks(tmp_path) == [Look((4,), ())]


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b'{"seeds": [1]}',
        b'{"seeds": ["a"], "contrasts": []}',
        b'{"seeds": [1], "contrasts": [["abc"]]}',
        b'{"seeds": 1, "contrasts": []}',
    ],
)
def test_rows_that_are_none_lose_no_other(tmp_path, row):
    append_look(tmp_path, FIRST)
    with (tmp_path / LOOKS).open("ab") as file:
        file.write(row)
    assert read_looks(tmp_path) == [FIRST]
    append_look(tmp_path, SECOND)
    assert read_looks(tmp_path) == [FIRST, SECOND]


def test_what_is_no_file_holds_no_looks(tmp_path):
    (tmp_path / LOOKS).mkdir()
    assert read_looks(tmp_path) == []
