"""Which checkpoints a run goes on from, and which are never written or never removed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.config import RunFailedError
from abcrl.rl.update import PolicyUpdater, UpdateResult
from abcrl.stages.ppo import run_ppo
from abcrl.storage import newest_checkpoint, read_reason, read_status
from tests.stages.comparisons import Listening
from tests.stages.resuming import assert_same_end, go_on
from tests.stages.stopped_runs import Stopping, refused


def spoil(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)


@pytest.mark.parametrize("file", ["tensors.safetensors", "checkpoint.json"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken_aloud(configure, stopped, finished, file):
    spoil(stopped / "checkpoints" / "step-000003" / file)
    assert go_on(configure(stopped)) == [
        f"checkpoint step-000003 cannot be used: {file} is damaged",
        "resumed from step 2",
    ]
    assert_same_end(stopped, finished)
    names = {path.name for path in (stopped / "checkpoints").iterdir()}
    assert names == {"step-000002", "step-000004"}


def remove_checkpoint_files(folder: Path) -> str:
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "checkpoint.json").unlink()
    return "checkpoint.json is damaged"


def remove_metrics(folder: Path) -> str:
    (folder / "metrics.jsonl").unlink()
    return "rows of metrics.jsonl that it counts on are missing"


def shorten_samples(folder: Path) -> str:
    file = folder / "samples.jsonl"
    file.write_bytes(file.read_bytes()[:10])
    return "rows of samples.jsonl that it counts on are missing"


def edit_metrics(folder: Path) -> str:
    file = folder / "metrics.jsonl"
    file.write_text(file.read_text().replace('"step": 1,', '"step": 7,', 1))
    return "metrics.jsonl was changed"


SPOILS = [remove_checkpoint_files, remove_metrics, shorten_samples, edit_metrics]


@pytest.mark.parametrize("spoil_all", SPOILS)
def test_where_none_can_be_used_they_are_kept_and_it_is_said_why(configure, stopped, spoil_all):
    reason = spoil_all(stopped)
    for option in ("refuse", "go on"):
        assert refused(configure(stopped), if_inexact=option) == (
            f"run.output: must hold a checkpoint to go on from, received {stopped}, which holds "
            f"checkpoints, none usable (checkpoint step-000003 cannot be used: {reason}); restore "
            f"the files, remove {stopped / 'checkpoints'} to start at step 0, or choose another "
            f"--output"
        )


def test_where_none_can_be_used_it_may_also_start_again(configure, stopped, finished):
    edit_metrics(stopped)
    said = go_on(configure(stopped), if_inexact="start again")
    assert said == [
        "checkpoint step-000003 cannot be used: metrics.jsonl was changed",
        "checkpoint step-000002 cannot be used: metrics.jsonl was changed",
        f"no usable checkpoint in {stopped}: starts at step 0",
    ]
    assert_same_end(stopped, finished)


def test_a_checkpoint_from_before_a_changed_row_is_taken(configure, stopped, finished):
    file = stopped / "metrics.jsonl"
    file.write_text(file.read_text().replace('"step": 3,', '"step": 7,', 1))
    assert go_on(configure(stopped)) == [
        "checkpoint step-000003 cannot be used: metrics.jsonl was changed",
        "resumed from step 2",
    ]
    assert_same_end(stopped, finished)


def test_without_its_timings_it_goes_on(configure, stopped, finished):
    (stopped / "timings.jsonl").unlink()
    assert go_on(configure(stopped)) == ["resumed from step 3"]
    assert_same_end(stopped, finished)


def test_a_failed_run_names_its_last_checkpoint_and_may_be_gone_on_with(
    configure, tmp_path, finished, monkeypatch
):
    folder = tmp_path / "run"
    update = PolicyUpdater.update
    calls = iter(range(1, 100))

    def fail(*args, **kwargs):
        if next(calls) == 4:
            raise RunFailedError("policy_loss is nan")
        return update(*args, **kwargs)

    monkeypatch.setattr(PolicyUpdater, "update", fail)
    with pytest.raises(RunFailedError):
        run_ppo(configure(folder), Listening())
    newest = newest_checkpoint(folder)
    assert newest == folder / "checkpoints" / "step-000002"
    assert read_reason(folder) == (f"step 4: policy_loss is nan; its last checkpoint is {newest}")
    assert go_on(configure(folder)) == ["resumed from step 2"]
    assert_same_end(folder, finished)


def ruin(monkeypatch: pytest.MonkeyPatch, number: int, kind: str, value: float) -> None:
    """From the n-th update on there is a value in the weights, or in Adam's memory, of no use."""
    update = PolicyUpdater.update
    calls = iter(range(1, 100))

    def spoiled(self: PolicyUpdater, *args: Any, **options: Any) -> UpdateResult:
        result = update(self, *args, **options)
        if next(calls) >= number:
            parameter = self.optimizer.param_groups[0]["params"][0]
            state = self.optimizer.state[parameter]
            tensor = parameter.data if kind == "parameter" else state["exp_avg_sq"]
            tensor.view(-1)[-1] = value
        return result

    monkeypatch.setattr(PolicyUpdater, "update", spoiled)


@pytest.mark.parametrize("kind", ["parameter", "optimizer/exp_avg_sq"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_ruined_weights_fail_the_run_and_get_no_checkpoint(
    configure, tmp_path, finished, monkeypatch, kind, value
):
    folder = tmp_path / "run"
    ruin(monkeypatch, 4, kind, value)
    # No evaluation with them comes before the checkpoint.
    changes = {"evaluation__interval": 5}
    with pytest.raises(RunFailedError) as caught:
        run_ppo(configure(folder, **changes), Listening())
    newest = folder / "checkpoints" / "step-000002"
    assert str(caught.value).startswith(f"step 4: weights are not finite ({kind}/")
    assert str(caught.value).endswith(
        f"); lower ppo.learning_rate or set ppo.max_grad_norm; its last checkpoint is {newest}"
    )
    assert read_reason(folder) == str(caught.value)
    assert newest_checkpoint(folder) == newest
    monkeypatch.undo()
    assert go_on(configure(folder, **changes)) == ["resumed from step 2"]
    assert (folder / "final/model.safetensors").read_bytes() == (
        finished / "final/model.safetensors"
    ).read_bytes()


def test_an_interrupt_on_ruined_weights_keeps_the_checkpoint_before(
    configure, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    ruin(monkeypatch, 3, "parameter", float("nan"))
    with pytest.raises(KeyboardInterrupt) as caught:
        run_ppo(configure(folder), Stopping(3))
    [note] = caught.value.__notes__
    newest = folder / "checkpoints" / "step-000002"
    assert note.startswith("no checkpoint written: weights are not finite (parameter/")
    assert note.endswith(f"; its last checkpoint is {newest}")
    assert newest_checkpoint(folder) == newest
    assert read_status(folder) == "interrupted"


def test_an_interrupt_amid_an_update_that_was_not_held_back_writes_no_half_one(
    configure, tmp_path, finished, monkeypatch
):
    def interrupt(*args, **kwargs):
        step(*args, **kwargs)
        raise KeyboardInterrupt

    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_ppo(configure(tmp_path / "run"), Listening())
    monkeypatch.undo()
    assert newest_checkpoint(tmp_path / "run") is None
    assert go_on(configure(tmp_path / "run"))[-1].endswith("starts at step 0")
    assert_same_end(tmp_path / "run", finished)
