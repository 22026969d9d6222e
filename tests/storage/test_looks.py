"""What somebody has seen of a comparison stays on record."""

import pytest

from abcrl.config import CompareConfig
from abcrl.config.load import validate
from abcrl.storage import LOOKS, Declared, Earlier, Look, append_look, read_looks, weigh_looks

SHARE = "0.2 of abc - rlhf"
ARMS = ("abc", "rlhf", "shuffled")
PRIMARY = Declared("abc", "rlhf")
FIRST = Look((0, 1, 2), ARMS, (PRIMARY, Declared("abc", "shuffled", SHARE)))
SECOND = Look((0, 1, 2, 3), ARMS[:2], (PRIMARY,))


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
    append_look(tmp_path, Look((4,), ARMS, ()))
    assert read_looks(tmp_path) == [Look((4,), ARMS, ())]


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b'{"seeds": [1], "arms": []}',
        b'{"seeds": ["a"], "arms": [], "contrasts": []}',
        b'{"seeds": [1], "arms": [], "contrasts": [["abc"]]}',
        b'{"seeds": [1], "arms": [], "contrasts": [["abc", "rlhf", "", ""]]}',
        b'{"seeds": 1, "arms": [], "contrasts": []}',
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


def test_a_comparison_is_its_own_look():
    config = validate(
        CompareConfig,
        {
            "seeds": [3, 1],
            "arms": [{"name": name, "reward": {"mode": name}} for name in ARMS],
            "contrasts": [
                {"arm": "abc", "baseline": "rlhf", "margin": 0.1},
                {"arm": "abc", "baseline": "shuffled", "margin": 0.2, "margin_of": ["abc", "rlhf"]},
            ],
        },
    )
    assert Look.of(config) == Look(
        (3, 1), ARMS, (Declared("abc", "rlhf", "0.1"), Declared("abc", "shuffled", SHARE))
    )


def look(*seeds: int, also: tuple[Declared, ...] = (), arms: tuple[str, ...] = ARMS) -> Look:
    return Look(seeds, arms, (PRIMARY, *also))


@pytest.mark.parametrize(
    ("looks", "notes"),
    [
        ([], ()),
        ([look(3, 2, 1, 0)], ()),
        ([look(0, 1)], ("seeds added after a look at 2",)),
        ([look(0), look(0, 1), look(0, 1, 2, 3)], ("seeds added after looks at 1 and 2",)),
        ([look(0, 1, 2, 3, 4)], ("seeds changed after a look at 5",)),
        ([look(6, 7)], ("seeds changed after a look at 2",)),
        (
            [look(0, 1), look(0, 1, 9)],
            ("seeds added after a look at 2", "seeds changed after a look at 3"),
        ),
    ],
)
def test_seeds_chosen_after_a_look_are_named(looks, notes):
    assert weigh_looks(looks, look(0, 1, 2, 3)) == Earlier(notes, 0, {})


def test_contrasts_dropped_after_a_look_are_counted_once():
    others = (Declared("uniform", "rlhf"), Declared("abc", "uniform"))
    looks = [look(0, 1, also=others), look(0, 1, also=others[:1]), look(0, 1)]
    assert weigh_looks(looks, look(0, 1)) == Earlier(
        ("Holm counts 2 contrasts dropped after a look",), 2, {}
    )


def test_a_contrast_turned_round_is_the_same():
    turned = Look((0, 1), ARMS, (Declared("rlhf", "abc"),))
    assert weigh_looks([turned], look(0, 1)) == Earlier((), 0, {})


def test_a_contrast_of_arms_that_had_been_seen_is_declared_late():
    late = Declared("shuffled", "rlhf")
    earlier = weigh_looks([look(0, 1), look(0, 1, also=(late,))], look(0, 1, also=(late,)))
    assert earlier.note("shuffled", "rlhf") == ["declared after a look"]
    assert earlier.note("rlhf", "shuffled") == ["declared after a look"]
    assert earlier.note("abc", "rlhf") == []


def test_a_contrast_of_an_arm_that_is_new_is_not():
    new = Declared("shuffled", "rlhf")
    assert weigh_looks([look(0, 1, arms=ARMS[:2])], look(0, 1, also=(new,))).late == {}


def test_a_contrast_declared_again_was_declared_when_it_was_first_seen():
    once = Declared("shuffled", "rlhf")
    looks = [look(0, 1, also=(once,)), look(0, 1)]
    assert weigh_looks(looks, look(0, 1, also=(once,))) == Earlier((), 0, {})


@pytest.mark.parametrize(
    ("before", "now", "is_late"),
    [("", "0.3", True), ("0.3", "0.3", False), ("0.2", "0.3", True), ("0.3", "", False)],
)
def test_a_margin_chosen_after_the_difference_was_seen_is_named(before, now, is_late):
    first, second = (
        Look((0, 1), ARMS, (Declared("abc", "rlhf", margin),)) for margin in (before, now)
    )
    noted = weigh_looks([first], second).note("abc", "rlhf")
    assert noted == (["margin stated after a look"] if is_late else [])
