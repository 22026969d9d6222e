"""sft and train-rm, killed or stopped anywhere and resumed, end with the bytes of one that was not.

With dropout, adapters, micro-batches, early stopping, and more than one epoch.
"""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from abcrl.storage import newest_checkpoint, read_environment, read_rows, read_status
from tests.models.padless import save_without_pad_token
from tests.stages.stopped_runs import Stopping
from tests.stages.supervised_resuming import (
    NAMES,
    Config,
    assert_same_end,
    configure,
    go_on,
    run,
    run_apart,
)

pytestmark = pytest.mark.usefixtures("fork_server")

KILLED = "the process was killed by SIGKILL (out of memory?)"


@pytest.fixture(scope="module")
def variant(tiny_runs) -> Callable[..., Config]:
    """variant(name, folder): the configuration of a run."""
    return lambda name, folder, **changes: configure(tiny_runs, name, folder, **changes)


@pytest.fixture(scope="module")
def whole(variant, tmp_path_factory) -> Callable[[str], Path]:
    """whole(variant): the folder of a run that nothing interrupted."""
    folders: dict[str, Path] = {}

    def finish(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / "run"
            run(variant(name, folders[name]))
        return folders[name]

    return finish


def newest(folder: Path) -> str:
    found = newest_checkpoint(folder)
    assert found is not None
    return found.name


@pytest.mark.parametrize("name", ["sft", "train-rm, LoRA"])
def test_two_kills_change_no_byte(variant, whole, tmp_path, name):
    config = variant(name, tmp_path / "run")
    assert run_apart(config, "step", 3).failure == KILLED
    assert read_status(tmp_path / "run") == "killed"
    assert run_apart(config, "half the optimizer", 2).failure == KILLED
    assert go_on(config) == ["resumed from step 5"]
    assert read_status(tmp_path / "run") == "finished"
    assert_same_end(tmp_path / "run", whole(name))


@pytest.mark.parametrize("name", ["sft, LoRA", "train-rm"])
def test_a_base_without_a_pad_token_gets_the_same_one_in_every_process(
    variant, tiny_runs, tmp_path, name
):
    base = str(save_without_pad_token(tiny_runs.policy, tmp_path / "base"))
    model = {"base": base} if name.startswith("sft") else base
    assert run_apart(variant(name, tmp_path / "whole", model=model)).failure is None
    config = variant(name, tmp_path / "run", model=model)
    assert run_apart(config, "step", 8).failure == KILLED
    torch.rand(3)  # whatever else this process has drawn
    assert go_on(config) == ["resumed from step 5"]
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    stored = [read_environment(tmp_path / run)["fingerprints"] for run in ("run", "whole")]
    assert stored[0] == stored[1]


# The last row of the runs that stop early; the others go on to step 15.
LAST_ROW = {"sft, early stopping": 4, "train-rm, early stopping": 8}
# An epoch ends at 7 and 14.
STOPS = [
    *((name, 7) for name in NAMES if LAST_ROW.get(name, 15) >= 7),
    ("sft", 1),
    ("sft", 14),
    ("train-rm, LoRA", 6),
    *(
        pytest.param(name, step, marks=pytest.mark.slow)
        for name in NAMES
        for step in (2, 5, 6, 8, 13, 14, 15)
        if step <= LAST_ROW.get(name, 15)
    ),
]


@pytest.mark.parametrize(("name", "step"), STOPS)
def test_a_run_that_is_stopped_goes_on_from_where_it_was(variant, whole, tmp_path, name, step):
    config = variant(name, tmp_path / "run")
    if name in LAST_ROW:
        assert read_rows(whole(name), "timings")[-1]["step"] == LAST_ROW[name]
    with pytest.raises(KeyboardInterrupt) as caught:
        run(config, Stopping(step))
    command = "sft" if name.startswith("sft") else "train-rm"
    assert caught.value.__notes__ == [
        f"checkpoint of step {step} written; go on with: abcrl {command} --resume --output "
        f"{tmp_path / 'run'}"
    ]
    assert read_status(tmp_path / "run") == "interrupted"
    assert list((tmp_path / "run").rglob("*.tmp")) == []
    assert go_on(config) == [f"resumed from step {step}"]
    assert_same_end(tmp_path / "run", whole(name))


@pytest.mark.parametrize("name", ["sft", "train-rm"])
def test_sigterm_waits_for_the_end_of_the_step(variant, whole, tmp_path, name):
    config = variant(name, tmp_path / "run")
    assert run_apart(config, "stop step", 8).failure == "stopped by SIGTERM"
    assert newest(tmp_path / "run") == "step-000008"
    assert read_status(tmp_path / "run") == "interrupted"
    assert go_on(config) == ["resumed from step 8"]
    assert_same_end(tmp_path / "run", whole(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number", "said"),
    [
        ("step", 1, "no checkpoint in {}: starts at step 0"),
        ("step", 13, "resumed from step 10"),
        ("evaluation", 5, "no checkpoint in {}: starts at step 0"),
        ("evaluation", 11, "resumed from step 10"),
        ("half a row of metrics", 1, "no checkpoint in {}: starts at step 0"),
        ("half a row of metrics", 2, "resumed from step 5"),
        ("half a row of timings", 3, "resumed from step 10"),
        ("weights", 2, "resumed from step 5"),
        ("half the optimizer", 1, "no checkpoint in {}: starts at step 0"),
        ("before the rename", 2, "resumed from step 5"),
        ("between rename and cleanup", 2, "resumed from step 10"),
        ("between rename and cleanup", 3, "resumed from step 15"),
        ("before final", 1, "resumed from step 15"),
        ("after final", 1, "resumed from step 15"),
    ],
)
@pytest.mark.parametrize("name", ["sft", "train-rm", "sft, LoRA"])
def test_a_kill_anywhere_changes_no_byte(variant, whole, tmp_path, name, place, number, said):
    config = variant(name, tmp_path / "run")
    assert run_apart(config, place, number).failure == KILLED
    assert go_on(config) == [said.format(tmp_path / "run")]
    assert_same_end(tmp_path / "run", whole(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_twelve_kills_at_random_instants_change_no_byte(variant, whole, tmp_path, name):
    run_apart(variant(name, tmp_path / "first"), "step")  # the fork server imports now
    begun = time.monotonic()
    assert run_apart(variant(name, tmp_path / "timed")).failure is None
    longest = 1.2 * (time.monotonic() - begun)
    draw, kills, number = Random(name), 0, 0
    while kills < 12:
        number += 1
        config = variant(name, tmp_path / f"{number}")
        while kills < 12 and run_apart(config, "", 1, draw.uniform(0, longest)).failure == KILLED:
            kills += 1
        if read_status(tmp_path / f"{number}") != "finished":
            go_on(config)
        assert_same_end(tmp_path / f"{number}", whole(name))


def test_how_often_checkpoints_are_written_changes_no_byte(variant, whole, tmp_path):
    config = variant("sft", tmp_path / "run", checkpoint__interval=1, checkpoint__keep_last=3)
    run(config)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-000013", "step-000014", "step-000015"]
    assert_same_end(tmp_path / "run", whole("sft"))


def test_a_checkpoint_holds_what_is_trained_and_no_code(variant, tmp_path):
    from safetensors.torch import load_file

    run(variant("train-rm, LoRA", tmp_path / "run"))
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000015"
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "checkpoint.json",
        "model.safetensors",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
    ]
    names = load_file(checkpoint / "model.safetensors").keys()
    assert all(".lora_" in name or name == "score.weight" for name in names)
    assert "score.weight" in names


def test_a_stop_when_training_is_over_trains_no_more(variant, whole, tmp_path, monkeypatch):
    config = variant("sft", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("abcrl.stages.sft.save_final", _interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(config)
    assert caught.value.__notes__ == [
        f"checkpoint of step 15 written; go on with: abcrl sft --resume --output {tmp_path / 'run'}"
    ]
    monkeypatch.setattr("abcrl.supervised.trainer._run", _interrupt)
    assert go_on(config) == ["resumed from step 15"]
    assert_same_end(tmp_path / "run", whole("sft"))


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_whose_checkpoint_the_disk_does_not_take_says_so(
    variant, tmp_path, monkeypatch
):
    config = variant("sft", tmp_path / "run")
    save, calls = torch.save, iter(range(1, 100))

    def refuse(*arguments: Any, **options: Any) -> None:
        if next(calls) > 3:  # of the first checkpoint: optimizer, schedule, random state
            raise OSError(28, "No space left on device")
        save(*arguments, **options)

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(config, Stopping(8))
    places = tmp_path / "run" / "checkpoints"
    assert caught.value.__notes__ == [
        f"no checkpoint written: checkpoint {places / 'step-000008'} cannot be written: No space "
        f"left on device; its last checkpoint is {places / 'step-000005'}"
    ]
    assert read_status(tmp_path / "run") == "interrupted"
