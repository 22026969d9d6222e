"""A run that is killed anywhere and resumed ends with the bytes of one that was not."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from abcrl.config import PpoConfig
from abcrl.stages.ppo import run_ppo
from abcrl.storage import newest_checkpoint, read_rows, read_status
from tests.stages.comparisons import Listening
from tests.stages.resuming import RESUMED, VARIANTS, assert_same_end, go_on, run_apart

pytestmark = pytest.mark.usefixtures("fork_server")

KILLED = "the process was killed by SIGKILL (out of memory?)"


@pytest.fixture(scope="module")
def variant(tiny_runs) -> Callable[..., PpoConfig]:
    """variant(name, folder): the configuration of a run."""
    return lambda name, folder: tiny_runs.ppo(folder, **{**RESUMED, **VARIANTS[name]})


@pytest.fixture(scope="module")
def whole(variant, tmp_path_factory) -> Callable[[str], Path]:
    """whole(variant): the folder of a run that nothing interrupted."""
    folders: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / "run"
            run_ppo(variant(name, folders[name]), Listening())
        return folders[name]

    return run


@pytest.mark.parametrize("name", VARIANTS)
def test_two_kills_change_no_byte(variant, whole, tmp_path, name):
    config = variant(name, tmp_path / "run")
    assert run_apart(config, "rollout", 4).failure == KILLED
    assert read_status(tmp_path / "run") == "killed"
    # 4 epochs of 2 mini-batches a step: in the second step from here.
    assert run_apart(config, "update", 11).failure == KILLED
    assert go_on(config) == ["resumed from step 2"]
    assert read_status(tmp_path / "run") == "finished"
    assert_same_end(tmp_path / "run", whole(name))


@pytest.mark.parametrize(
    ("place", "number", "said"),
    [
        ("rollout", 1, "no checkpoint in {}: starts at step 0"),
        ("update", 30, "resumed from step 2"),
        ("evaluation", 3, "resumed from step 2"),
        ("half a row of metrics", 5, "resumed from step 2"),
        ("half a row of samples", 3, "resumed from step 2"),
        ("half the tensors", 2, "resumed from step 2"),
        ("before the rename", 2, "resumed from step 2"),
        ("between rename and cleanup", 2, "resumed from step 4"),
        ("final", 1, "resumed from step 4"),
        ("after final", 1, "resumed from step 4"),
        # The same places before the first checkpoint, or one later.
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("evaluation", 1, "no checkpoint in {}: starts at step 0"),
                ("evaluation", 4, "resumed from step 4"),
                ("half a row of metrics", 1, "no checkpoint in {}: starts at step 0"),
                ("half a row of samples", 2, "no checkpoint in {}: starts at step 0"),
                ("half the tensors", 1, "no checkpoint in {}: starts at step 0"),
                ("between rename and cleanup", 1, "resumed from step 2"),
            ]
        ),
    ],
)
def test_a_kill_anywhere_changes_no_byte(variant, whole, tmp_path, place, number, said):
    config = variant("plain", tmp_path / "run")
    assert run_apart(config, place, number).failure == KILLED
    assert go_on(config) == [said.format(tmp_path / "run")]
    assert_same_end(tmp_path / "run", whole("plain"))


@pytest.mark.parametrize("place", ["between rename and cleanup", "cleanup"])
def test_what_a_kill_left_to_remove_is_removed(tiny_runs, whole, tmp_path, place):
    changes = {"checkpoint__interval": 1, "checkpoint__keep_last": 1}
    config = tiny_runs.ppo(tmp_path / "run", **{**RESUMED, **changes})
    assert run_apart(config, place, 2).failure == KILLED
    assert go_on(config) in (["resumed from step 2"], ["resumed from step 3"])
    assert_same_end(tmp_path / "run", whole("plain"))
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names == ["step-000005"]


@pytest.mark.parametrize(
    ("place", "number", "reached"),
    [
        ("rollout", 2, 1),
        ("update", 1, 1),  # it waits for the end of the update
        ("update", 20, 3),
        ("evaluation", 2, 2),
        ("half a row of metrics", 4, 3),
        ("half the tensors", 1, 2),
        ("final", 1, 5),
    ],
)
def test_a_run_that_is_stopped_goes_on_from_where_it_was(
    variant, whole, tmp_path, place, number, reached
):
    config = variant("running scale", tmp_path / "run")
    assert run_apart(config, f"stop {place}", number).failure == "stopped by SIGTERM"
    assert read_status(tmp_path / "run") == "interrupted"
    newest = newest_checkpoint(tmp_path / "run")
    assert newest is not None
    assert newest.name == f"step-00000{reached}"
    assert list((tmp_path / "run").rglob("*.tmp")) == []
    assert go_on(config) == [f"resumed from step {reached}"]
    assert_same_end(tmp_path / "run", whole("running scale"))


def test_timings_have_each_step_once(variant, tmp_path):
    config = variant("plain", tmp_path / "run")
    assert run_apart(config, "update", 30).failure == KILLED
    go_on(config)
    rows = read_rows(tmp_path / "run", "timings")
    evaluated = [row["step"] for row in rows if "evaluation_seconds" in row]
    assert [row["step"] for row in rows if "update_seconds" in row] == [1, 2, 3, 4, 5]
    assert evaluated == [0, 2, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_twenty_kills_at_random_instants_change_no_byte(variant, whole, tmp_path, name):
    run_apart(variant(name, tmp_path / "first"), "rollout")  # the fork server imports now
    begun = time.monotonic()
    assert run_apart(variant(name, tmp_path / "timed")).failure is None
    longest = 1.2 * (time.monotonic() - begun)
    draw, kills, number = Random(name), 0, 0
    while kills < 20:
        number += 1
        config = variant(name, tmp_path / f"{number}")
        while kills < 20 and run_apart(config, "", 1, draw.uniform(0, longest)).failure == KILLED:
            kills += 1
        if read_status(tmp_path / f"{number}") != "finished":
            go_on(config)
        assert_same_end(tmp_path / f"{number}", whole(name))
