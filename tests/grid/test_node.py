"""The far side of a cluster, on this machine and without one: what it sends, in which order."""

import multiprocessing.util
import os
import time
from pathlib import Path

import pytest

from abcrl.grid import Task
from abcrl.grid.local_copy import LocalCopy
from abcrl.grid.node import Begun, Ended, Message, News, Order, run_order, scratch_folder
from abcrl.grid.shipping import Part, pack
from abcrl.storage import describe_code, read_status
from tests.grid import workload
from tests.grid.workload import stage


@pytest.fixture(autouse=True)
def _temporary_files_of_the_node(tmp_path, monkeypatch):
    multiprocessing.util.get_temp_dir()  # the fork server's, which outlives this test
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    monkeypatch.setattr("sys.argv", ["abcrl", "compare"])


def itself(part: Part) -> Part:
    return part


def order(task: Task, *, code: str | None = None) -> Order:
    files = task.files
    there = [] if files is None else [path for path in files.reads if path.exists()]
    written = files is not None and files.writes.exists()
    return Order(
        task=task,
        reads=tuple((path, pack(path, itself)) for path in there),
        written=pack(files.writes, itself) if written and files else None,
        code=describe_code() if code is None else code,
        command=("abcrl", "compare"),
        preload=(),
        grace_seconds=10.0,
        scratch="abcrl-ray-test",
    )


def run(task: Task, *, stop_after: float = 1e9) -> list[Message]:
    deadline = time.monotonic() + stop_after
    return list(run_order(order(task), itself, lambda: time.monotonic() > deadline))


def bring_back(task: Task, messages: list[Message]) -> None:
    copy = LocalCopy(task)
    for message in messages:
        if isinstance(message, News):
            copy.follow(message)
        elif isinstance(message, Part):
            copy.receive(message)
    copy.complete()


def test_messages_come_in_their_order_and_nothing_stays(tmp_path):
    messages = run(stage(tmp_path, "run", rows=2))
    kinds = [type(message) for message in messages]
    assert kinds[0] is Begun
    assert kinds[-1] is Ended
    assert sorted(kinds[1:-1], key=[News, Part].index) == kinds[1:-1]
    names = [message.name for message in messages if isinstance(message, Part)]
    assert names == ["config.yaml", "final/weights", "metrics.jsonl", "place", "status.json"]
    assert not (tmp_path / "run").exists()
    assert [path.name for path in scratch_folder("abcrl-ray-test").iterdir()] == []


def test_other_code_takes_no_task(tmp_path):
    task = Task("a", workload.write, (tmp_path / "written", "text"))
    messages = list(run_order(order(task, code="0.0.9 (code abc)"), itself, lambda: False))
    [begun] = messages
    assert begun == Begun(os.uname().nodename, describe_code(), accepted=False)
    assert not (tmp_path / "written").exists()


def test_what_comes_back_tells_of_the_paths_here(tmp_path):
    task = stage(tmp_path, "run", rows=1, failing=True)
    messages = run(task)
    bring_back(task, messages)
    ended = messages[-1]
    assert isinstance(ended, Ended)
    assert ended.result is not None
    assert ended.result.failure == f"{tmp_path / 'run'}: cannot be written"
    assert (tmp_path / "run" / "config.yaml").read_text() == f"{tmp_path / 'run'}\n"
    assert str(tmp_path / "run") in (tmp_path / "run" / "status.json").read_text()
    assert str(tmp_path / "node") not in (tmp_path / "run" / "status.json").read_text()
    log = (tmp_path / "run.txt").read_text()
    assert f"RunFailedError: {tmp_path / 'run'}: cannot be written" in log
    assert str(tmp_path / "node") not in log


def test_a_stopped_task_brings_back_how_far_it_came(tmp_path):
    task = stage(tmp_path, "run", rows=100, seconds=0.2)
    bring_back(task, run(task, stop_after=4.0))
    assert read_status(tmp_path / "run") == "interrupted"
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert (tmp_path / "run" / "stopped").read_text() == str(len(rows))
    more = stage(tmp_path, "run", rows=len(rows) + 1)
    bring_back(more, run(more))
    assert (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[: len(rows)] == rows
    assert read_status(tmp_path / "run") == "finished"


def test_a_copy_that_is_not_complete_is_a_killed_run(tmp_path):
    task = stage(tmp_path, "run", rows=2, seconds=2.0)
    messages = run(task)
    copy = LocalCopy(task)
    for message in messages:
        if isinstance(message, News):
            copy.follow(message)
    # There it is finished, and here is nothing but its rows yet.
    assert read_status(tmp_path / "run") == "running"
    for part in [message for message in messages if isinstance(message, Part)][:3]:
        copy.receive(part)
    assert read_status(tmp_path / "run") == "running"
    copy.close()
    assert read_status(tmp_path / "run") == "killed"
    assert not (tmp_path / "run" / "final").exists()
    bring_back(task, messages)
    assert read_status(tmp_path / "run") == "finished"
    assert [path for path in (tmp_path / "run").glob(".*") if path.name != ".lock"] == []


def test_what_killed_calls_have_left_is_removed_after_a_day(tmp_path):
    old, young = (tmp_path / "node" / f"abcrl-ray-{age}" for age in ("old", "young"))
    for folder in (old, young):
        (folder / "inputs").mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    run(Task("a", workload.speak, ("hello",), tmp_path / "log.txt"))
    assert not old.exists()
    assert young.exists()


def test_rows_that_a_run_took_back_are_sent_again(tmp_path):
    from abcrl.grid.node import _Follower

    file = tmp_path / "metrics.jsonl"
    follower = _Follower(None, str)
    follower.add(tmp_path, ("metrics.jsonl",))
    sent = []
    for content in ("1\n2\n3", "1\n2\n3\n", "1\n", "1\n4\n"):
        file.write_text(content)
        sent.append([(news.part.offset, news.part.data) for news in follower.news()])
    assert sent == [[(0, b"1\n2\n")], [(4, b"3\n")], [(0, b"1\n")], [(2, b"4\n")]]


def test_only_a_log_needs_no_folder_and_any_other_file_does(tmp_path):
    copy = LocalCopy(Task("a", workload.speak, ("hello",), Path(tmp_path / "log.txt")))
    copy.follow(News(Part("", 0, b"hello\n"), log=True))
    assert (tmp_path / "log.txt").read_text() == "hello\n"
    with pytest.raises(ValueError, match="has written files, and told of none"):
        copy.receive(Part("final/model", 0, b""))
