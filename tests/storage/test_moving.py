"""A run folder that moves keeps its checkpoints, and is whole or unfinished at any instant."""

from pathlib import Path
from typing import Any

import pytest

from abcrl.storage import hold_run, read_checkpoint, read_config, read_status, write_checkpoint
from abcrl.storage.moving import draft_place, replace_content, replace_text, restate_config
from tests.storage.saving import checkpoint, no_telling


def test_checkpoints_tell_of_the_new_paths_and_stay_whole(run):
    written = checkpoint()
    write_checkpoint(run, written, keep_last=1)
    restate_config(run, "policy: /there/policy\n")
    read = read_checkpoint(run, no_telling)
    assert read is not None
    assert read.config == read_config(run) == "policy: /there/policy\n"
    assert (read.step, read.state, read.streams) == (written.step, written.state, written.streams)


def test_a_damaged_checkpoint_stays_damaged(run):
    place = write_checkpoint(run, checkpoint(), keep_last=1)
    (place / "checkpoint.json").write_text('{"step": 40}')
    restate_config(run, "a: 1\n")
    reasons: list[str] = []
    assert read_checkpoint(run, reasons.append) is None
    assert reasons == ["checkpoint step-000040 cannot be used: checkpoint.json is damaged"]


def test_no_folder_stays_none(tmp_path):
    restate_config(tmp_path / "absent", "a: 1\n")
    assert not (tmp_path / "absent").exists()


def test_paths_in_json_are_replaced_as_json_writes_them(tmp_path):
    file = tmp_path / "status.json"
    file.write_text('{"reason": "/t\\u00e9mp/run: full"}')
    replace_text(file, "/témp/run", "/home/run")
    assert file.read_text() == '{"reason": "/home/run: full"}'
    replace_text(tmp_path / "absent.json", "a", "b")


def test_new_content_replaces_the_old_and_keeps_the_lock(tmp_path):
    run, draft = _run_and_draft(tmp_path)
    with hold_run(run):
        replace_content(run, draft)
    assert {path.name for path in run.iterdir()} == {".lock", "status.json", "rows.jsonl", "final"}
    assert (run / "rows.jsonl").read_text() == "new\n"
    assert (run / "final" / "weights").read_text() == "new"
    assert read_status(run) == "finished"


@pytest.mark.parametrize("step", range(6))
def test_whatever_stops_it_the_run_is_unfinished_or_complete(tmp_path, monkeypatch, step):
    """Stopped before its n-th change to the disk."""
    run, draft = _run_and_draft(tmp_path)
    changes = 0

    def count(change: Any) -> Any:
        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal changes
            changes += 1
            if changes > step:
                raise KeyboardInterrupt
            return change(*args, **kwargs)

        return counting

    for name in ("rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(Path, name, count(getattr(Path, name)))
    with pytest.raises(KeyboardInterrupt):
        replace_content(run, draft)
    monkeypatch.undo()
    if read_status(run) == "finished":
        assert (run / "rows.jsonl").read_text() == "new\n"
        assert (run / "final" / "weights").read_text() == "new"
    else:
        assert read_status(run) == "killed"


def _run_and_draft(folder: Path) -> tuple[Path, Path]:
    """An unfinished run, and a finished one in a folder of it."""
    run = folder / "run"
    (run / "checkpoints" / "step-000001").mkdir(parents=True)
    (run / ".lock").touch()
    (run / "status.json").write_text('{"state": "running"}\n')
    (run / "rows.jsonl").write_text("old\n")
    (run / "note.txt").write_text("old\n")
    draft = draft_place(run)
    (draft / "final").mkdir(parents=True)
    (draft / "final" / "weights").write_text("new")
    (draft / "rows.jsonl").write_text("new\n")
    (draft / "status.json").write_text('{"state": "finished"}\n')
    return run, draft
