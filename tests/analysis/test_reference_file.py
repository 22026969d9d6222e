"""Files of curves from elsewhere: what they may look like, and the one line for everything else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.analysis.reference_file import ReferenceCurves, TrainingCurve, read_reference_curves
from abcrl.config import InputError

FILE = {
    "source": "a remark",
    "plain": {"abc": [[1.0, 2.0], [3, 4.5]], "rlhf": [[1.0, 0.0], [3, 0.5]]},
    "with_kl": {
        "reward": {"abc": [[1.0, 2.0]], "rlhf": [[1.0, 3.0]]},
        "kl": {"abc": [[0.0, 0.5]]},
        "value_loss": {"abc": "not looked at"},
    },
    "grouped": {"20-30/abc": [[1.0]], "40-60/abc": [[2.0]], "20-30/abc-d": [[1.0]]},
}
NAMES = "plain, with_kl, grouped/20-30, grouped/40-60"


@pytest.fixture
def read(tmp_path):
    """read(name, content=FILE): the curves of that name in a file of that content."""

    def read(name: str, content: Any = FILE) -> ReferenceCurves:
        file = tmp_path / "some: curves.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_reference_curves(f"{file}:{name}")

    return read


def test_each_form_gives_its_runs(read):
    plain = read("plain")
    assert (plain.name, plain.file, plain.arms) == ("plain", "some: curves.json", ("abc", "rlhf"))
    assert plain.runs == (
        TrainingCurve("abc", 0, (1.0, 2.0)),
        TrainingCurve("abc", 1, (3.0, 4.5)),
        TrainingCurve("rlhf", 0, (1.0, 0.0)),
        TrainingCurve("rlhf", 1, (3.0, 0.5)),
    )
    assert not plain.has_kl
    with_kl = read("with_kl")
    assert with_kl.has_kl
    assert [run.kl for run in with_kl.runs] == [(0.0, 0.5), ()]
    assert read("grouped/20-30").arms == ("abc", "abc-d")
    assert read("grouped/40-60").runs == (TrainingCurve("abc", 0, (2.0,)),)


def test_runs_that_began_with_the_same_batch_are_a_pair(read):
    # abc lacks the second seed; the last of rlhf began elsewhere; two runs began with 7.
    curves = {
        "abc": [[5.0, 0], [7.0, 1], [7.0, 2]],
        "rlhf": [[5.0, 3], [6.0, 4], [7.0, 5], [7.0, 6]],
        "uniform": [[4.0, 0]],
    }
    runs = read("x", {"x": curves}).runs
    numbers = {(run.arm, run.score[1]): run.seed for run in runs}
    assert numbers["rlhf", 3] == numbers["abc", 0]
    assert numbers["rlhf", 5] == numbers["abc", 1]
    assert numbers["rlhf", 6] == numbers["abc", 2]
    others = {numbers["rlhf", 4], numbers["uniform", 0]}
    assert len(others) == 2
    assert not others & {numbers["abc", last] for last in (0, 1, 2)}


@given(
    st.dictionaries(
        st.sampled_from(["abc", "rlhf", "uniform"]),
        st.lists(
            st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=4), min_size=1, max_size=5
        ),
        min_size=1,
    )
)
def test_no_run_is_lost_and_none_has_the_number_of_another_of_its_arm(tmp_path_factory, curves):
    file = tmp_path_factory.mktemp("curves") / "curves.json"
    file.write_text(json.dumps({"x": curves}))
    runs = read_reference_curves(f"{file}:x").runs
    for arm, rows in curves.items():
        own = [run for run in runs if run.arm == arm]
        assert [list(run.score) for run in own] == rows
        assert len({run.seed for run in own}) == len(rows)


def test_our_curves_begin_with_the_first_update():
    rows = [
        {"step": 0, "eval/score": 9.0},
        {"step": 1, "objective/score": 1.0, "objective/kl": 0.0},
        {"step": 2, "objective/score": 2.0, "objective/kl": 0.5, "eval/score": 9.0},
    ]
    assert TrainingCurve.from_rows("abc", 3, rows) == TrainingCurve(
        "abc", 3, (1.0, 2.0), (0.0, 0.5)
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plane", FILE, f"({NAMES}), received 'plane'; did you mean plain?"),
        ("grouped", FILE, f"({NAMES}), received 'grouped'; choose one of them"),
        ("source", FILE, f"({NAMES}), received 'source'; choose one of them"),
        ("x", "{", "must be a JSON file of curves, received "),
        ("x", [1], "which holds none; check the file"),
        ("x", {"source": "nothing else"}, "which holds none; check the file"),
        ("x", {"x": {"abc": 1.0}}, "x abc: must be a list for each seed, each of finite numbers"),
        ("x", {"x": {"abc": []}}, "received []; correct the file"),
        ("x", {"x": {"abc": [1.0, 2.0]}}, "received [1.0, 2.0]; correct the file"),
        ("x", {"x": {"abc": [[1.0], []]}}, "received [[1.0], []]; correct the file"),
        ("x", {"x": {"abc": [[True]]}}, "received [[true]]; correct the file"),
        ("x", {"x": {"abc": [["1"]]}}, 'received [["1"]]; correct the file'),
        ("x", '{"x": {"abc": [[NaN]]}}', "received [[NaN]]; correct the file"),
        ("x", '{"x": {"abc": [[1e999]]}}', "received [[Infinity]]; correct the file"),
        ("x", f'{{"x": {{"abc": [[1{"0" * 400}]]}}}}', "...; correct the file"),
        ("x", {"x": {"reward": [[1.0]]}}, "must be an object with the runs of each arm"),
        (
            "x",
            {"x": {"reward": {"abc": [[1.0, 2.0]]}, "kl": {"abc": [[0.0]]}}},
            "x abc: must have a kl for every score, received lists of other lengths",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_why(read, name, content, said):
    with pytest.raises(InputError) as caught:
        read(name, content)
    assert str(caught.value).startswith("--against: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"received .*none.json \(No such file or directory\)"):
        read_reference_curves(f"{tmp_path / 'none.json'}:imdb")
    with pytest.raises(InputError, match="Is a directory"):
        read_reference_curves(f"{tmp_path}:imdb")


@pytest.mark.parametrize("ending", ["", ":"])
def test_a_missing_name_is_answered_with_the_names(tmp_path, ending):
    file = tmp_path / "curves.json"
    file.write_text(json.dumps(FILE))
    with pytest.raises(InputError) as caught:
        read_reference_curves(f"{file}{ending}")
    assert f"must read FILE:NAME with NAME one of {NAMES}, received " in str(caught.value)
    assert str(caught.value).endswith(f"e.g. {file}:plain")


@pytest.mark.parametrize("text", ["imdb", ":imdb", "", ":"])
def test_half_of_file_and_name_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="must read FILE:NAME, received"):
        read_reference_curves(text)
    assert not list(Path().iterdir())
