"""A checkpoint that cannot be trusted is passed over aloud, or refused."""

import json
from pathlib import Path

import pytest

from abcrl.config import InputError
from abcrl.storage import checkpoints as module
from abcrl.storage import discard_checkpoints, read_checkpoint, write_checkpoint
from tests.storage.saving import (
    FILES,
    checkpoint,
    cut,
    flip,
    names,
    no_telling,
    saved_elsewhere,
)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", ["checkpoint.json", "tensors.safetensors"])
def test_a_damaged_one_is_passed_over_aloud(run, name, damage):
    write_checkpoint(run, checkpoint(20), keep_last=3)
    damage(write_checkpoint(run, checkpoint(40), keep_last=3) / name)
    said: list[str] = []
    found = read_checkpoint(run, said.append)
    assert found is not None
    assert found.step == 20
    [line] = said
    assert line.startswith(f"checkpoint step-000040 cannot be used: {name} is damaged")


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", [*FILES, "checkpoint.json"])
def test_damage_to_any_file_is_seen(run, name, damage):
    write_checkpoint(run, saved_elsewhere(run, 20), keep_last=3)
    damage(write_checkpoint(run, saved_elsewhere(run, 40), keep_last=3) / name)
    said: list[str] = []
    found = read_checkpoint(run, said.append)
    assert found is not None
    assert found.step == 20
    [line] = said
    assert line.startswith(f"checkpoint step-000040 cannot be used: {name} is damaged")


@pytest.mark.parametrize("key", ["step", "state", "streams", "digests", "config", "files"])
def test_no_value_can_be_changed_unseen(run, key):
    file = write_checkpoint(run, checkpoint(), keep_last=1) / "checkpoint.json"
    content = json.loads(file.read_text())
    content[key] = {"kl_coef": 0.1} if isinstance(content[key], dict) else "41"
    file.write_text(json.dumps(content))
    said: list[str] = []
    assert read_checkpoint(run, said.append) is None
    assert said == ["checkpoint step-000040 cannot be used: checkpoint.json is damaged"]


@pytest.mark.parametrize("text", ["", "[]", "1", '{"checksum": "0"}'])
def test_what_is_no_checkpoint_at_all_is_passed_over(run, text):
    file = write_checkpoint(run, checkpoint(), keep_last=1) / "checkpoint.json"
    file.write_text(text)
    said: list[str] = []
    assert read_checkpoint(run, said.append) is None
    assert len(said) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1234", "rows of metrics.jsonl that it counts on are missing"),
        (None, "rows of metrics.jsonl that it counts on are missing"),
        ("12346", "metrics.jsonl was changed"),
        ("02345 and more", "metrics.jsonl was changed"),
    ],
)
def test_rows_that_it_counts_on_must_be_there_as_they_were(run, content, reason):
    write_checkpoint(run, checkpoint(), keep_last=1)
    if content is None:
        (run / "metrics.jsonl").unlink()
    else:
        (run / "metrics.jsonl").write_text(content)
    said: list[str] = []
    assert read_checkpoint(run, said.append) is None
    assert said == [f"checkpoint step-000040 cannot be used: {reason}"]


def test_rows_after_it_and_timings_may_be_anything(run):
    write_checkpoint(run, checkpoint(), keep_last=1)
    (run / "metrics.jsonl").write_text("12345, and less")
    (run / "samples.jsonl").write_text("new")
    assert not (run / "timings.jsonl").exists()
    assert read_checkpoint(run, no_telling) is not None


def test_a_file_is_no_checkpoint(run):
    write_checkpoint(run, checkpoint(20), keep_last=1)
    (run / "checkpoints" / "step-000040").write_text("mine")
    newest = read_checkpoint(run, no_telling)
    assert newest is not None
    assert newest.step == 20
    discard_checkpoints(run)
    assert names(run) == ["step-000040"]


def test_one_of_another_format_is_refused_not_passed_over(run, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 4)
    place = write_checkpoint(run, checkpoint(), keep_last=1)
    monkeypatch.undo()
    with pytest.raises(InputError) as caught:
        read_checkpoint(run, no_telling)
    assert str(caught.value) == (
        f"run.output: the checkpoint must be of format 3, received {place} of format 4; go on "
        f"with the version of abcrl that wrote it"
    )
