"""The benchmark of the statistics: what it counts, and that it counts what it says."""

import json
from argparse import Namespace
from typing import Any

import numpy as np
import pytest

GRIDS = 5


@pytest.fixture(scope="module")
def bench(load_script):
    """The benchmark's modules."""
    names = ("calibration", "calibration_grids")
    return Namespace(**{name: load_script("benchmarks", name) for name in names})


@pytest.fixture(scope="module")
def tables(bench, tmp_path_factory) -> list[list[dict[str, Any]]]:
    """What is written of a few grids, table by table."""
    file = tmp_path_factory.mktemp("calibration") / "calibration.json"
    bench.calibration.main(["--grids", str(GRIDS), "--resampled", "3", "--json", str(file)])
    return list(json.loads(file.read_text())["tables"].values())


def test_every_number_is_of_as_many_grids_as_asked_for(tables):
    verdicts, equalities, coverages, powers = tables
    assert [len(table) for table in tables] == [12, 12, 5, 9]
    for line in [*verdicts, *equalities, *powers, *coverages[:-2]]:
        rates = [cell for cell in line.values() if isinstance(cell, list)]
        assert rates
        assert all(0 <= hits <= grids == GRIDS for hits, grids in rates)
    assert [line["normal"][1] for line in coverages[-2:]] == [3, 3]  # those with a bootstrap


def test_a_table_is_the_same_alone_and_among_others(bench, tables, tmp_path):
    file = tmp_path / "margins.json"
    options = ["--tables", "margins", "--grids", str(GRIDS), "--json", str(file)]
    bench.calibration.main(options)
    assert json.loads(file.read_text())["tables"] == {"margins": tables[1]}


def test_what_a_shape_cannot_show_is_left_out(tables):
    verdicts, equalities = tables[:2]
    # The toy's only contrast is of rlhf and abc: nothing is elsewhere, nothing has a share of it.
    assert all(line["effect elsewhere"] is None for line in verdicts[:4])
    assert all(line["share of another"] is None for line in equalities[:4])
    assert all(line["effect elsewhere"] is not None for line in verdicts[4:])
    assert all(line["share of another"] is not None for line in equalities[4:])


def test_shapes_are_those_of_the_recipes(bench):
    toy, hh_small, everything = bench.calibration_grids.shapes_of_recipes()
    assert [one[:2] for one in toy.contrasts] == [("abc", "rlhf")]
    assert len(toy.seeds) == 6
    assert (len(hh_small.contrasts), len(hh_small.seeds)) == (5, 8)
    assert ("abc", "shuffled", None) in everything.contrasts
    assert len(everything.seeds) == 10


@pytest.mark.parametrize("name", ["normal", "skewed", "bimodal", "unlike"])
def test_noise_has_mean_0_and_variance_1_in_every_arm(bench, name):
    drawn = bench.calibration_grids.NOISES[name](np.random.default_rng(0), (2, 400_000))
    assert drawn.mean(axis=1) == pytest.approx([0, 0], abs=0.01)
    assert drawn.var(axis=1) == pytest.approx([1, 1], abs=0.1)  # of lognormal noise: slow to settle


def test_a_seed_is_common_to_all_arms_and_missing_cells_are_absent(bench):
    shape = bench.calibration_grids.unrelated(2, 50)
    none = bench.calibration_grids.draw_grid(
        np.random.default_rng(0), shape, lambda _, size: np.zeros(size), effects={"arm-1": 2.0}
    )
    assert len(set(none["arm-0"].values())) == 50
    assert none["arm-0"] == none["baseline-0"] == none["baseline-1"]
    assert none["arm-1"] == pytest.approx({seed: one + 2 for seed, one in none["arm-0"].items()})
    some = bench.calibration_grids.draw_grid(
        np.random.default_rng(0), shape, bench.calibration_grids.draw_normal, missing=0.3
    )
    assert 30 < np.mean([len(cells) for cells in some.values()]) < 40


def test_margins_are_the_true_differences(bench):
    _, shape, _ = bench.calibration_grids.shapes_of_recipes()
    effects, margins = bench.calibration_grids.fixed_margins(shape)
    for one, margin in zip(shape.contrasts, margins, strict=True):
        assert abs(effects[one.arm] - effects[one.baseline]) == margin.size > 0
    effects, margins = bench.calibration_grids.shared_margins(shape)
    assert [one is not None for one in margins] == [False, False, True, True, True]
    for one, margin in zip(shape.contrasts, margins, strict=True):
        if margin is not None:
            arm, baseline = margin.of
            whole = effects[arm] - effects.get(baseline, 0.0)
            assert effects[one.arm] - effects[one.baseline] == pytest.approx(margin.size * whole)


def test_a_rate_has_the_standard_error_of_a_share(bench):
    rate = bench.calibration.Rate(5, 100)
    # sqrt(.05 * .95 / 100) = .0218.
    assert str(rate) == " 5.00 ± 2.18"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--grids", "0"], "--grids"),
        (["--tables", "no-such"], "--tables"),
        (["--json", "/no/where/x.json"], "--json must be in an existing folder"),
    ],
)
def test_wrong_arguments_are_refused(bench, capsys, option, said):
    with pytest.raises(SystemExit) as caught:
        bench.calibration.read_arguments(option)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
