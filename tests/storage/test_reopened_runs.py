"""A run folder that is written again by the same run: what is cut off, who holds it."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from abcrl.config import InputError, SftConfig, load_config, to_yaml
from abcrl.storage import (
    RunFolder,
    differing_environment,
    hold_run,
    read_environment,
    read_rows,
    read_status,
)


@pytest.fixture
def config(tmp_path) -> SftConfig:
    return load_config(SftConfig, flags={"run.output": str(tmp_path / "run")})


@pytest.fixture
def run(tmp_path, config):
    """An interrupted run of two rows and a bit."""
    folder = tmp_path / "run"
    with suppress(KeyboardInterrupt), RunFolder.create(folder, config, {"device": "a"}) as new:
        new.append("metrics", [{"step": 0}])
        new.append("metrics", [{"step": 1}])
        new.append("samples", [{"step": 1}])
        raise KeyboardInterrupt
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"st')
    (folder / "final").mkdir()
    (folder / ".final.99.tmp").mkdir()
    (folder / "notes.jsonl").write_text("mine")
    return folder


def test_rows_after_the_checkpoint_are_cut_off(run, config):
    with hold_run(run) as lock:
        streams = {"metrics": len('{"step": 0}\n'), "samples": 0}
        with RunFolder.reopen(run, lock, config, {"device": "b"}, streams=streams) as folder:
            assert read_status(run) == "running"
            assert read_environment(run) == {"device": "b"}
            assert folder.stream_sizes() == {"metrics": 12, "timings": 0, "samples": 0}
            folder.append("metrics", [{"step": 1}])
        assert read_status(run) == "finished"
    assert read_rows(run, "metrics") == [{"step": 0}, {"step": 1}]
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "notes.jsonl",
        "status.json",
    ]


def test_the_hash_of_rows_goes_on_where_the_file_does(run, config):
    def hashed(text: str) -> str:
        return hashlib.blake2b(text.encode()).hexdigest()

    rows = ['{"step": 0}\n', '{"step": 1, "response": "\\u00e9"}\n']
    with hold_run(run) as lock:
        streams = {"metrics": len(rows[0]), "samples": 0}
        with RunFolder.reopen(run, lock, config, {}, streams=streams) as folder:
            assert folder.stream_digests() == {"metrics": hashed(rows[0]), "samples": hashed("")}
            folder.append("metrics", [{"step": 1, "response": "é"}])
            folder.append("timings", [{"step": 1}])
            digests = folder.stream_digests()
    assert digests == {"metrics": hashed("".join(rows)), "samples": hashed("")}
    assert (run / "metrics.jsonl").read_text() == "".join(rows)


@pytest.mark.parametrize(("there", "left"), [(None, None), ("12", "12"), ("1234567", "12345")])
def test_timings_are_cut_where_they_are_longer_and_need_not_be_there(run, config, there, left):
    file = run / "timings.jsonl"
    if there is not None:
        file.write_text(there)
    with hold_run(run) as lock, RunFolder.reopen(run, lock, config, {}, streams={"timings": 5}):
        assert (file.read_text() if file.exists() else None) == left


def test_the_configuration_in_force_is_the_one_on_record(run, config):
    changed = config.replace(run=config.run.replace(seed=1))
    with hold_run(run) as lock, RunFolder.reopen(run, lock, changed, {}, streams={}):
        assert (run / "config.yaml").read_text() == to_yaml(changed)
    assert not (run / "metrics.jsonl").exists()


def test_the_lock_is_held_until_the_holder_lets_go(run, config):
    def is_free() -> bool:
        other = FileLock(run / ".lock")
        try:
            other.acquire(timeout=0)
        except TimeoutError:
            return False
        other.release()
        return True

    with hold_run(run) as lock:
        assert not is_free()
        with RunFolder.reopen(run, lock, config, {}, streams={}):
            assert not is_free()
        assert not is_free()
    assert is_free()


def test_holding_a_run_writes_nothing_and_is_for_one(run):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir() if path.name != ".lock"}
    with (
        hold_run(run),
        pytest.raises(InputError, match="is being written by another"),
        hold_run(run),
    ):
        pass
    after = {path: path.stat().st_mtime_ns for path in run.iterdir() if path.name != ".lock"}
    assert after == before


def test_a_file_can_be_no_held_run(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"run\.output: must be a run folder"),
        hold_run(tmp_path / "file"),
    ):
        pass


def test_a_new_folder_that_another_process_took_first_is_refused(tmp_path, config, monkeypatch):
    mkdir, other = Path.mkdir, FileLock(tmp_path / "run" / ".lock")

    def make_and_lose(self: Path, **options: bool) -> None:
        mkdir(self, **options)
        monkeypatch.undo()
        other.acquire()

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    with pytest.raises(InputError, match="is being written by another process"):
        RunFolder.create(tmp_path / "run", config, {})
    other.release()


def test_environments_differ_in_what_results_depend_on():
    before = {
        "versions": {"python": "3.11.1", "torch": "2.9"},
        "device": "cpu",
        "processor": "x, AVX2",
        "code": "12ab",
        "git_commit": "a",
        "command": "abcrl ppo",
        "platform": "Linux-1",
        "fingerprints": {"texts": "1"},
    }
    now = json.loads(json.dumps(before))
    assert differing_environment(before, now) == []
    now |= {"command": "abcrl ppo --resume", "platform": "Linux-2", "fingerprints": {}}
    now |= {"git_commit": "b"}
    assert differing_environment(before, now) == []
    assert differing_environment(before, {**now, "code": "34cd"}) == ["code: 12ab there, 34cd now"]
    now |= {"versions": {"python": "3.11.1", "torch": "2.10"}, "processor": "x, AVX512"}
    assert differing_environment(before, now) == [
        "processor: x, AVX2 there, x, AVX512 now",
        "torch: 2.9 there, 2.10 now",
    ]
    assert differing_environment({}, {"device": "cpu"}) == ["device: None there, cpu now"]
