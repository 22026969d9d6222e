"""compare --against: both sides of a finished comparison, and nothing is run for it."""

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from abcrl.config import CompareConfig
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.stages.reference import compare_with_reference, describe_reference, open_reference
from abcrl.storage import read_rows
from tests.stages.comparisons import cells, configure, fake_failure, on, stamps

pytestmark = pytest.mark.usefixtures("fork_server")

CURVES = {
    "long": {"abc": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "abc-d": [[0.0]]},
    "group": {"20-30/rlhf": [[1.0]], "20-30/abc": [[1.0]]},
    "with_kl": {"reward": {"rlhf": [[1.0, 2.0]]}, "kl": {"rlhf": [[0.0, 0.1]]}},
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, tiny_runs) -> CompareConfig:
    """Two arms, two seeds, two steps: finished."""
    config = on(tiny_runs, tmp_path_factory.mktemp("against") / "compare")
    assert run_compare(config, SilentReporter()).summary.failed == ()
    return config


@pytest.fixture
def curves(tmp_path) -> Path:
    file: Path = tmp_path / "curves.json"
    file.write_text(json.dumps(CURVES))
    return file


def test_the_table_shows_the_training_scores_of_the_cells(comparison, curves, app_main):
    folder = Path(comparison.output)
    before = stamps(folder)
    code, output = app_main(comparison, "--against", f"{curves}:long")
    assert code == 0
    assert stamps(folder) == before
    rows = [line.split() for line in output.splitlines()]
    for arm in ("abc", "rlhf"):
        runs = [
            [row["objective/score"] for row in read_rows(cells(comparison)[key], "metrics")[1:]]
            for key in (f"{arm}/seed-0", f"{arm}/seed-1")
        ]
        mean = sum(map(sum, runs)) / 4
        assert [arm, "here", "2", f"{mean:+.2f}", f"{mean:+.2f}"] in [row[:5] for row in rows]
    # Theirs over the two steps that ours have: (1 + 2 + 4 + 5) / 4.
    assert ["there", "2", "+3.00", "+3.00"] in rows
    for said in (
        "steps 1 to 2",
        "there: long of curves.json",
        "the held-out score",
        "Without a counterpart in long: rlhf.",
        "In long alone: abc-d.",
        f"figure   {folder / 'against-long.png'}",
    ):
        assert said in output
    assert imread(folder / "against-long.png").shape[1] > 1000
    assert (folder / "against-long.svg").is_file()


def test_names_of_groups_are_names_of_files(comparison, curves, app_main):
    code, output = app_main(comparison, "--against", f"{curves}:group/20-30")
    assert code == 0
    assert "there: group/20-30 of curves.json" in output
    assert (Path(comparison.output) / "against-group-20-30.png").is_file()


def test_a_dry_run_tells_the_counterparts_and_draws_nothing(tiny_runs, curves, app_main, tmp_path):
    config = on(tiny_runs, tmp_path / "new")
    code, output = app_main(config, "--against", f"{curves}:with_kl", "--dry-run")
    assert code == 0
    last = output.splitlines()[-1]
    assert last == "# beside with_kl of curves.json: rlhf; without a counterpart: abc"
    assert not (tmp_path / "new").exists()


def test_failed_cells_are_no_curves(tiny_runs, curves, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0])
    for key in ("abc/seed-0", "rlhf/seed-0"):
        fake_failure(config, key)
    result = run_compare(config, SilentReporter())
    assert len(result.summary.failed) == 2
    reference = open_reference(config, f"{curves}:long")
    assert compare_with_reference(config, result, reference) is None
    assert not list((tmp_path / "compare").glob("against-*"))


def test_the_plan_names_a_counterpart_of_another_name(tmp_path, curves):
    arms = [{"name": "mine", "reward": {"mode": "abc"}}]
    config = configure(tmp_path / "x", arms=arms)
    reference = open_reference(config, f"{curves}:long")
    assert describe_reference(config, reference) == "beside long of curves.json: mine (abc)"
