"""What may be another setting when a run goes on."""

import pytest

from abcrl.config import CheckpointConfig, PpoConfig, differing_settings, load_config, to_yaml


def settings(**changes: object) -> str:
    flags = {"policy": "a/b", "reward_model": "c/d", "run.output": "/x"}
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return to_yaml(load_config(PpoConfig, flags={**flags, **named}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"run__output": "/y"},
        {"run__device": "cuda"},
        {"checkpoint__interval": 7},
        {"checkpoint__keep_last": 7},
    ],
)
def test_what_changes_no_result_may_differ(changes):
    assert differing_settings(settings(), settings(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"run__threads": 2}, "run.threads: 1 there, 2 now"),
        ({"run__seed": 2}, "run.seed: 0 there, 2 now"),
        ({"steps": 2}, "steps: 150 there, 2 now"),
        ({"policy": "a/c"}, "policy: a/b there, a/c now"),
    ],
)
def test_what_changes_a_result_may_not(changes, line):
    assert differing_settings(settings(), settings(**changes)) == [line]


def test_a_comparison_minds_the_device():
    stored, wanted = settings(), settings(run__device="cuda", checkpoint__interval=7)
    assert differing_settings(stored, wanted, free=()) == ["run.device: auto there, cuda now"]


def test_a_run_of_before_there_were_checkpoints_differs_in_nothing():
    stored = settings()
    assert "checkpoint:\n  interval: 20\n  keep_last: 2\n" in stored
    before = stored.replace("checkpoint:\n  interval: 20\n  keep_last: 2\n", "")
    assert differing_settings(before, stored) == []


def test_no_checkpoint_is_no_choice():
    with pytest.raises(ValueError, match="keep_last"):
        CheckpointConfig(keep_last=0)
    with pytest.raises(ValueError, match="interval"):
        CheckpointConfig(interval=0)
