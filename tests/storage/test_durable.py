"""Files and folders are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from abcrl.storage.durable import new_folder, remove_folder, sweep, write_atomically


def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    events = []
    replace = Path.replace

    def move(self: Path, target: Path) -> Path:
        events.append((target.name, "named"))
        return replace(self, target)

    def note(path: Path) -> None:
        events.append((path.name, "folder" if path.is_dir() else path.read_text()))

    monkeypatch.setattr("abcrl.storage.durable.sync", note)
    monkeypatch.setattr(Path, "replace", move)
    write_atomically(tmp_path / "status.json", "new")
    assert events == [
        (f".status.json.{os.getpid()}.tmp", "new"),
        ("status.json", "named"),
        (tmp_path.name, "folder"),
    ]


def test_a_new_folder_gets_its_name_when_it_is_complete(tmp_path):
    place = tmp_path / "deep" / "final"
    with new_folder(place) as draft:
        assert draft != place
        (draft / "model").write_text("weights")
        assert not place.exists()
    assert (place / "model").read_text() == "weights"
    assert [path.name for path in place.parent.iterdir()] == ["final"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_one_that_is_given_up_leaves_nothing(tmp_path, error):
    with suppress(error), new_folder(tmp_path / "final") as draft:
        (draft / "model").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "final"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert (tmp_path / "final" / "mine").read_text() == "mine"


def test_a_removed_folder_loses_its_name_first(tmp_path, monkeypatch):
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "model").write_text("weights")
    seen = []
    unlink = os.unlink

    def spy(path, **options):
        seen.append((tmp_path / "final").exists())
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", spy)
    remove_folder(tmp_path / "final")
    assert seen == [False]
    assert list(tmp_path.iterdir()) == []
    remove_folder(tmp_path / "final")  # nothing to remove


def test_sweeping_removes_what_a_killed_writer_left_and_nothing_else(tmp_path):
    for name in (".final.12.tmp", ".checkpoints.3.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("")
    for name in (".status.json.12.tmp", ".lock", "status.json", "notes.tmp"):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes.tmp", "status.json"]
    sweep(Path(tmp_path / "absent"))
