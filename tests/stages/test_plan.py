"""What `--dry-run` of a comparison says: what is there, how long it takes, what it can show."""

from abcrl.config import CompareConfig, plan_cells
from abcrl.stages.plan import describe_plan
from abcrl.storage import RunFolder
from tests.stages.comparisons import on


def finish(config: CompareConfig, number: int, *seconds: float) -> None:
    """Leaves what a finished cell leaves whose steps and evaluations took so long."""
    cell = plan_cells(config)[number]
    with RunFolder.create(cell.folder, cell.run, {}) as folder:
        folder.append("timings", [{"step": 1, "rollout_seconds": one} for one in seconds])


def test_the_time_that_is_left_is_told_by_finished_cells(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2], jobs=2)
    assert not any("minutes" in line for line in describe_plan(config))
    finish(config, 0, 50.0, 50.0)
    finish(config, 1, 140.0)
    # Four of six are left, two at a time: twice 120 seconds.
    assert (
        "about 4 minutes for the other 4, 2 at a time: finished ones took 120 seconds on average"
        in describe_plan(config)
    )


def test_what_so_many_seeds_can_show_is_told(tiny_runs, tmp_path):
    few = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2])
    assert describe_plan(few)[-1] == (
        "3 seeds cannot give a verdict on 1 contrast: it takes 6, or fewer contrasts"
    )
    enough = on(tiny_runs, tmp_path / "compare", seeds=list(range(6)))
    assert describe_plan(enough)[-1] == "6 seeds can give a verdict on 1 contrast (it takes 6)"
