"""What `--dry-run` of a comparison says: what is there, how long it takes, what it can show."""

from pathlib import Path

import pytest

from abcrl.config import CompareConfig, InputError, plan_cells, shared_stages, to_yaml
from abcrl.stages.comparison_folder import require_own_folders
from abcrl.stages.plan import describe_plan
from abcrl.storage import Declared, Look, RunFolder, append_look, write_atomically
from tests.stages.comparisons import ARMS, configure, fake_failure, on


def finish(config: CompareConfig, number: int, *seconds: float) -> None:
    """Leaves what a finished cell leaves whose steps and evaluations took so long."""
    cell = plan_cells(config)[number]
    with RunFolder.create(cell.folder, cell.run, {}) as folder:
        folder.append("timings", [{"step": 1, "rollout_seconds": one} for one in seconds])


def test_the_time_that_is_left_is_told_by_finished_cells(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2], grid__jobs=2)
    assert not any("minutes" in line for line in describe_plan(config))
    finish(config, 0, 50.0, 50.0)
    finish(config, 1, 140.0)
    # Four of six are left, two at a time: twice 120 seconds.
    assert (
        "about 4 minutes for the other 4, 2 at a time: finished ones took 120 seconds on average"
        in describe_plan(config)
    )


def test_a_short_time_is_told_in_seconds(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2], grid__jobs=2)
    finish(config, 0, 17.0)
    # Five are left, two at a time: three times 17 seconds.
    assert any(line.startswith("about 51 seconds for") for line in describe_plan(config))


def test_failed_cells_take_time_only_where_they_are_run_again(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2], grid__jobs=1)
    finish(config, 0, 1000.0)
    fake_failure(config, "rlhf/seed-2")
    count, time = describe_plan(config)[:2]
    assert count == (
        "6 cells (2 arms x 3 seeds) of 2 PPO steps, 1 of them finished, 1 failed (counted as "
        "failed without --retry-failed)"
    )
    assert time.startswith("about 67 minutes for the other 4")
    count, time = describe_plan(config, retry_failed=True)[:2]
    assert count.endswith("1 of them finished, 1 failed (to be run again)")
    assert time.startswith("about 83 minutes for the other 5")


def test_arms_and_contrasts_of_a_sweep_are_told_shortly(tiny_runs, tmp_path):
    dense = {"name": "uniform", "reward": {"mode": "uniform"}}
    config = on(
        tiny_runs,
        tmp_path / "compare",
        arms=[*ARMS, dense, {**ARMS[1], "name": "rlhf-lambda1", "gae_lambda": 1.0}],
        sweep={"reward.beta": [0.2, 0.6]},
        contrasts=[
            {"arm": "abc", "baseline": "rlhf"},
            {"arm": "abc", "baseline": "uniform", "margin": 0.2, "margin_of": ["abc", "rlhf"]},
            {"arm": "rlhf-lambda1", "baseline": "rlhf", "margin": 0.5},
        ],
    )
    assert describe_plan(config) == [
        "12 cells (6 arms x 2 seeds) of 2 PPO steps, 0 of them finished",
        "arm abc@reward.beta=0.2: beta 0.2, lambda 0.95",
        "arm rlhf: lambda 0.95",
        "arm uniform@reward.beta=0.2: beta 0.2, lambda 0.95",
        "arm rlhf-lambda1: lambda 1",
        "arm abc@reward.beta=0.6: beta 0.6, lambda 0.95",
        "arm uniform@reward.beta=0.6: beta 0.6, lambda 0.95",
        "declared contrasts: abc - rlhf, abc - uniform (margin 0.2 of abc - rlhf) at each of 2 "
        "points; rlhf-lambda1 - rlhf (margin 0.5)",
        "2 seeds cannot give a verdict on 5 contrasts: it takes 8, or fewer contrasts",
    ]


def conclude(config: CompareConfig, seen: Look) -> None:
    """Leaves what a call leaves whose cells were looked at."""
    finish(config, 0)
    write_atomically(Path(config.output) / "config.yaml", to_yaml(config))
    append_look(Path(config.output), seen)


def test_what_was_seen_before_is_counted(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=list(range(6)))
    arms = ("abc", "rlhf", "shuffled")
    seen = Look((0, 1, 2), arms, (Declared("abc", "rlhf"), Declared("abc", "shuffled")))
    conclude(config, seen)
    assert describe_plan(config)[-3:] == [
        "6 seeds cannot give a verdict on 2 contrasts (1 of them from an earlier look): it takes "
        "7, or fewer contrasts",
        "every verdict will say: seeds added after a look at 3",
        "every verdict will say: Holm counts 1 contrast dropped after a look",
    ]


def test_what_was_declared_late_is_announced(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=list(range(6)))
    conclude(config, Look(tuple(range(6)), ("abc", "rlhf"), ()))
    assert describe_plan(config)[-1] == (
        "the verdict on abc - rlhf will say: declared after a look"
    )


def test_what_the_call_would_refuse_the_plan_refuses(tiny_runs, tmp_path):
    config = on(tiny_runs, tmp_path / "compare", seeds=[0, 1])
    finish(config, 0)
    other = config.replace(ppo=config.ppo.replace(steps=7))
    with pytest.raises(InputError, match=r"ran with other settings \(steps: 2 there, 7 now\)"):
        describe_plan(other)


def test_no_model_is_trained_again_under_finished_cells(tmp_path):
    config = configure(tmp_path / "compare")
    assert describe_plan(config)[0] == "sft: to be trained"
    for run in shared_stages(config):
        assert run is not None
        with RunFolder.create(Path(run.run.output), run, {}):
            pass
    finish(config, 0)
    finish(config, 1)
    assert describe_plan(config)[:2] == ["sft: finished", "reward-model: finished"]
    gone = tmp_path / "compare" / "reward-model"
    gone.rename(tmp_path / "elsewhere")
    for look in (describe_plan, require_own_folders):
        with pytest.raises(InputError) as caught:
            look(config)
        assert str(caught.value) == (
            f"output: {gone} must be the finished run that cells/abc/seed-0 and 1 more began "
            f"with, received none; restore it, remove them, or choose another --output"
        )


def test_what_so_many_seeds_can_show_is_told(tiny_runs, tmp_path):
    few = on(tiny_runs, tmp_path / "compare", seeds=[0, 1, 2])
    assert describe_plan(few)[-1] == (
        "3 seeds cannot give a verdict on 1 contrast: it takes 6, or fewer contrasts"
    )
    enough = on(tiny_runs, tmp_path / "compare", seeds=list(range(6)))
    assert describe_plan(enough)[-1] == "6 seeds can give a verdict on 1 contrast (it takes 6)"
