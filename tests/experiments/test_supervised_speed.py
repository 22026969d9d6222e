"""The benchmark of supervised training: both sides train the same, and every turn is counted."""

import json
from argparse import Namespace
from typing import Any

import pytest

SIZES = ["--layers", 1, "--heads", 2, "--width", 8, "--vocabulary", 64, "--batch", 4, "--length", 8]


@pytest.fixture(scope="module")
def bench(load_script):
    """The benchmark's modules."""
    names = ("supervised_speed", "supervised_workload")
    return Namespace(**{name: load_script("benchmarks", name) for name in names})


@pytest.fixture(scope="module")
def runs(bench, tmp_path_factory) -> dict[str, Any]:
    """What is written of three steps, in three turns, by stage."""
    file = tmp_path_factory.mktemp("speed") / "speed.json"
    options = [*SIZES, "--steps", 3, "--repeats", 3, "--device", "cpu", "--json", file]
    bench.supervised_speed.main([str(option) for option in options])
    return {row["stage"]: row["timings"] for row in json.loads(file.read_text())["runs"]}


def test_both_stages_and_sides_are_measured_on_the_same_tokens(runs):
    assert runs.keys() == {"sft", "train-rm"}
    for sides in runs.values():
        assert sides.keys() == {"abcrl", "trainer"}
        counted = {tokens for turns in sides.values() for _, _, tokens in turns}
        assert len(counted) == 1  # the same batches in every turn
        # Two steps after the first, of four texts of 2 to 8 tokens.
        assert 2 * 4 * 2 <= counted.pop() <= 2 * 4 * 8
        for turns in sides.values():
            assert len(turns) == 3
            assert all(0 < seconds < whole for seconds, whole, _ in turns)


def test_a_ratio_is_of_the_same_turn(bench):
    timing = bench.supervised_speed.Timing
    ours = [timing(2.0, 4.0, 100), timing(3.0, 6.0, 100)]
    theirs = [timing(1.0, 4.0, 100), timing(6.0, 3.0, 100)]
    comparison = bench.supervised_speed.Comparison("sft", {"abcrl": ours, "trainer": theirs})
    assert comparison.ratios(lambda one: one.seconds) == [2.0, 0.5]
    assert comparison.ratios(lambda one: one.whole) == [1.0, 2.0]
    assert comparison.speed("abcrl") == (50 + 100 / 3) / 2


def test_sides_that_learnt_other_things_are_refused(bench):
    settings = Namespace(layers=1, width=8, heads=2, vocabulary=64, length=8, device="cpu")
    networks = {
        side: bench.supervised_workload.make_network("sft", settings)
        for side in ("abcrl", "trainer")
    }
    bench.supervised_speed.require_same(networks)
    weight = networks["trainer"].get_parameter("transformer.h.0.mlp.c_fc.weight")
    weight.data[0, 0] += 0.01
    with pytest.raises(RuntimeError, match=r"transformer\.h\.0\.mlp\.c_fc\.weight differs"):
        bench.supervised_speed.require_same(networks)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--repeats", "1"], "--repeats and --steps must be at least 2"),
        (["--width", "10"], "--width must be a multiple of --heads"),
        (["--json", "/no/where/x.json"], "--json must be in an existing folder"),
    ],
)
def test_wrong_arguments_are_refused(bench, capsys, option, said):
    with pytest.raises(SystemExit) as caught:
        bench.supervised_speed.read_arguments(option)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
