import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import abcrl
from abcrl.config import InputError, SftConfig, load_config, to_yaml
from abcrl.storage import (
    RunFolder,
    describe_environment,
    read_config,
    read_reason,
    read_rows,
    read_status,
    write_atomically,
    write_json,
)
from abcrl.storage.digests import hash_code

ENVIRONMENT = {"device": "cpu"}


def configuration(folder: Path) -> SftConfig:
    return load_config(SftConfig, flags={"run.output": str(folder)})


def create(folder: Path) -> RunFolder:
    return RunFolder.create(folder, configuration(folder), ENVIRONMENT)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_run_says_what_it_is_before_anything_else(tmp_path):
    folder = tmp_path / "deep" / "run"
    with create(folder):
        assert read_config(folder) == to_yaml(configuration(folder))
        assert json.loads((folder / "environment.json").read_text()) == ENVIRONMENT
        assert json.loads((folder / "status.json").read_text()) == {"state": "running"}
        assert read_status(folder) == "running"


def test_a_run_that_ends_well_is_finished_and_lets_its_lock_go(tmp_path):
    folder = tmp_path / "run"
    with create(folder):
        pass
    assert read_status(folder) == "finished"
    assert read_reason(folder) == ""
    with FileLock(folder / ".lock").acquire(timeout=0):
        pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first line\nsecond line"), "first line"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (SystemExit(3), "3"),
    ],
)
def test_a_run_that_fails_says_why_and_keeps_what_it_wrote(tmp_path, error, reason):
    folder = tmp_path / "run"
    run = create(folder)
    run.append("metrics", [{"step": 0}])
    with pytest.raises(type(error)), run:
        raise error
    assert read_status(folder) == "failed"
    assert read_reason(folder) == reason
    assert read_rows(folder, "metrics") == [{"step": 0}]
    with FileLock(folder / ".lock").acquire(timeout=0):
        pass


def test_an_interrupted_run_is_no_failed_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), create(tmp_path / "run"):
        raise KeyboardInterrupt
    assert read_status(tmp_path / "run") == "interrupted"


@pytest.mark.parametrize("kind", ["run", "empty folder", "file"])
def test_what_exists_is_refused_and_left_alone(tmp_path, kind):
    path = tmp_path / "taken"
    if kind == "file":
        path.write_text("mine")
    elif kind == "empty folder":
        path.mkdir()
    else:
        with create(path) as run:
            run.append("metrics", [{"step": 0}])
    before = path.read_bytes() if path.is_file() else content(path)
    with pytest.raises(InputError, match=r"run\.output: the folder must not exist yet") as caught:
        create(path)
    assert str(path) in str(caught.value)
    assert "--output" in str(caught.value)
    assert (path.read_bytes() if path.is_file() else content(path)) == before


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"run\.output: the folder must be creatable"):
        create(tmp_path / "file" / "run")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_and_nothing_is_written(tmp_path, value):
    with create(tmp_path / "run") as run:
        run.append("metrics", [{"step": 0, "loss": 1.0}])
        with pytest.raises(ValueError, match="JSON compliant"):
            run.append("metrics", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": value}])
        with pytest.raises(ValueError, match="JSON compliant"):
            run.append("fresh", [{"loss": value}])
        with pytest.raises(ValueError, match="JSON compliant"):
            run.write_json("environment.json", {"loss": value})
    assert read_rows(tmp_path / "run", "metrics") == [{"step": 0, "loss": 1.0}]
    assert not (tmp_path / "run" / "fresh.jsonl").exists()
    assert json.loads((tmp_path / "run" / "environment.json").read_text()) == ENVIRONMENT


def test_rows_are_read_while_they_are_written(tmp_path):
    with create(tmp_path / "run") as run:
        assert read_rows(run.path, "metrics") == []
        run.append("metrics", [{"step": 0}, {"step": 1}])
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "lo')
        assert read_rows(run.path, "metrics") == [{"step": 0}, {"step": 1}]


def test_a_row_of_any_text_is_one_line(tmp_path):
    text = "a\u2028b\x85c\nd\r\x0b\U0001f4a9 \ud83d é \ufffd"
    with create(tmp_path / "run") as run:
        run.append("samples", [{"response": text}, {"response": "next"}])
        assert [row["response"] for row in read_rows(run.path, "samples")] == [text, "next"]
    assert (tmp_path / "run" / "samples.jsonl").read_bytes().count(b"\n") == 2


WRITER = """
import os, signal, sys, time
from pathlib import Path
from abcrl.config import SftConfig, load_config
from abcrl.storage import RunFolder
path = Path(sys.argv[1])
with RunFolder.create(path, load_config(SftConfig, flags={"run.output": str(path)}), {}) as run:
    run.append("metrics", [{"step": 0}])
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_run_is_running_while_its_writer_lives_and_killed_when_it_died(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            assert read_status(folder) == "running"
            assert read_status(folder) == "running"  # asking takes nothing away
        finally:
            os.kill(writer.pid, signal.SIGKILL)
        writer.wait(timeout=10)
    assert read_status(folder) == "killed"
    assert json.loads((folder / "status.json").read_text())["state"] == "running"
    assert read_rows(folder, "metrics") == [{"step": 0}]
    assert read_reason(folder) == ""


def test_a_run_killed_before_its_status_was_written_is_killed(tmp_path):
    (tmp_path / ".lock").touch()
    assert read_status(tmp_path) == "killed"
    (tmp_path / "status.json").write_text("{")
    assert read_status(tmp_path) == "killed"


def test_where_there_is_no_run_there_is_no_status(tmp_path):
    assert read_status(tmp_path / "absent") is None
    assert read_status(tmp_path) is None
    assert read_config(tmp_path) is None
    assert read_rows(tmp_path, "metrics") == []
    assert list(tmp_path.iterdir()) == []  # asking leaves nothing behind


def test_a_file_is_replaced_in_one_step_and_leaves_no_draft(tmp_path):
    file = tmp_path / "summary.json"
    write_atomically(file, "old\n")
    write_json(file, {"new": 1})
    assert json.loads(file.read_text()) == {"new": 1}
    assert file.read_bytes().endswith(b"}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    file = tmp_path / "status.json"
    write_atomically(file, "old")
    seen = []
    replace = Path.replace

    def spy(draft: Path, target: Path) -> Path:
        seen.append((file.read_text(), draft.read_text(), draft.parent))
        return replace(draft, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_atomically(file, "new")
    assert seen == [("old", "new", tmp_path)]
    assert file.read_text() == "new"


def test_the_environment_names_versions_device_command_and_data():
    content = describe_environment(device="cpu (test)", fingerprints={"corpus": "abc"})
    versions = content["versions"]
    assert isinstance(versions, dict)
    assert {"python", "abcrl", "torch", "transformers", "tokenizers"} <= versions.keys()
    assert {"accelerate", "datasets", "numpy", "peft", "safetensors"} <= versions.keys()
    assert content["code"] == hash_code(Path(abcrl.__file__).parent)
    assert content["device"] == "cpu (test)"
    assert content["fingerprints"] == {"corpus": "abc"}
    assert content["command"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content
