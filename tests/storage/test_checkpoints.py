import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from abcrl.config import RunFailedError
from abcrl.storage import (
    discard_checkpoints,
    drafting,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from tests.storage.saving import FILES, checkpoint, names, no_telling, saved_elsewhere


def test_what_is_read_is_what_was_written_to_the_bit(run):
    written = checkpoint()
    place = write_checkpoint(run, written, keep_last=1)
    assert place == run / "checkpoints" / "step-000040"
    read = read_checkpoint(run, no_telling)
    assert read is not None
    for name in ("step", "config", "state", "streams", "digests"):
        assert getattr(read, name) == getattr(written, name)
    assert read.tensors.keys() == written.tensors.keys()
    for name, tensor in written.tensors.items():
        assert read.tensors[name].dtype == tensor.dtype
        assert read.tensors[name].shape == tensor.shape
        assert torch.equal(
            read.tensors[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )


def test_it_holds_nothing_that_is_code(run):
    place = write_checkpoint(run, checkpoint(), keep_last=1)
    assert sorted(path.name for path in place.iterdir()) == [
        "checkpoint.json",
        "tensors.safetensors",
    ]


def test_the_newest_are_kept_by_number_not_by_name(run):
    for step in (999_998, 999_999, 1_000_000):
        write_checkpoint(run, checkpoint(step), keep_last=2)
    assert names(run) == ["step-1000000", "step-999999"]
    newest = read_checkpoint(run, no_telling)
    assert newest is not None
    assert newest.step == 1_000_000
    assert newest_checkpoint(run) == run / "checkpoints" / "step-1000000"


def test_a_step_that_has_one_keeps_it(run):
    place = write_checkpoint(run, checkpoint(), keep_last=2)
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    write_checkpoint(run, checkpoint(), keep_last=2)
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_where_there_is_none_there_is_none(run):
    assert read_checkpoint(run, no_telling) is None
    assert newest_checkpoint(run) is None
    discard_checkpoints(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-x").mkdir()
    assert read_checkpoint(run, no_telling) is None


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """In the block the system refuses to write more to a file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "changes",
    [{"tensors": {"weight": torch.zeros(100_000)}}, {"config": "x" * 400_000}],
    ids=["tensors", "rest"],
)
def test_one_that_the_disk_does_not_take_fails_the_run_and_leaves_nothing(run, changes):
    write_checkpoint(run, checkpoint(20), keep_last=1)
    with files_of_at_most(100_000), pytest.raises(RunFailedError) as caught:
        write_checkpoint(run, checkpoint(40, **changes), keep_last=1)
    place = run / "checkpoints" / "step-000040"
    assert str(caught.value).startswith(f"checkpoint {place} cannot be written: ")
    assert "File too large" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(run) == ["step-000020"]
    assert read_checkpoint(run, no_telling) is not None


def test_later_ones_and_unfinished_ones_are_discarded(run):
    for step in (20, 40, 60):
        write_checkpoint(run, checkpoint(step), keep_last=9)
    shutil.copytree(run / "checkpoints/step-000020", run / "checkpoints/.step-000080.1234.tmp")
    discard_checkpoints(run, after=20)
    assert names(run) == ["step-000020"]
    discard_checkpoints(run)
    assert not (run / "checkpoints").exists()


def test_a_write_that_fails_leaves_nothing(run, monkeypatch):
    write_checkpoint(run, checkpoint(20), keep_last=1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_checkpoint(run, checkpoint(40, state={"kl_coef": float("nan")}), keep_last=1)
    assert names(run) == ["step-000020"]


def test_it_is_on_the_disk_before_it_has_its_name(run, monkeypatch):
    events: list[str] = []
    rename = Path.rename

    def note(file: Path) -> None:
        events.append(f"sync {file.name.partition('.')[0] or file.name.split('.')[1]}")

    def move(self: Path, target: Path) -> Path:
        events.append(f"rename to {target.name}")
        return rename(self, target)

    monkeypatch.setattr("abcrl.storage.durable.sync", note)
    monkeypatch.setattr("abcrl.storage.checkpoints.sync", note)
    monkeypatch.setattr(Path, "rename", move)
    write_checkpoint(run, checkpoint(), keep_last=1)
    renamed = events.index("rename to step-000040")
    assert events[0] == "sync metrics"
    assert {"sync tensors", "sync checkpoint", "sync step-000040"} <= {*events[:renamed]}
    assert events[renamed + 1 :] == ["sync checkpoints", f"sync {run.name.partition('.')[0]}"]


def test_files_of_another_library_move_into_it(run):
    written = saved_elsewhere(run)
    place = write_checkpoint(run, written, keep_last=1)
    read = read_checkpoint(run, no_telling)
    assert read is not None
    assert read.folder == place
    assert read.tensors == {}
    assert read.state == written.state
    names = sorted(path.name for path in place.iterdir())
    assert names == ["checkpoint.json", "model.safetensors", "optimizer.pt"]
    assert all((place / name).read_bytes() == content for name, content in FILES.items())
    assert written.folder is not None
    assert list(written.folder.iterdir()) == []


def test_a_draft_is_gone_after_its_block_and_no_checkpoint_before(run):
    with drafting(run) as place:
        (place / "half").write_text("half")
        assert newest_checkpoint(run) is None
    assert not (run / "checkpoints").exists()
    write_checkpoint(run, checkpoint(), keep_last=1)
    with pytest.raises(ValueError, match="stop"), drafting(run):
        raise ValueError("stop")
    assert names(run) == ["step-000040"]


def test_a_draft_that_a_kill_left_is_swept_away(run):
    write_checkpoint(run, checkpoint(), keep_last=1)
    (run / "checkpoints" / ".training.1234.tmp" / "checkpoint-50").mkdir(parents=True)
    discard_checkpoints(run, after=40)
    assert names(run) == ["step-000040"]
