"""The Ray engine on two nodes of this machine: what the local engine promises, it promises too."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import InputError, RunFailedError
from abcrl.grid import GridProgress, Needs, Task, connected, run_tasks, run_tasks_on_ray
from tests.grid import workload
from tests.grid.clusters import two_nodes
from tests.grid.processes import alive, read_pids, wait_for
from tests.grid.workload import stage


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def connection(cluster):
    with connected(cluster.address):
        yield cluster


@pytest.fixture
def on_ray(connection):
    return run_tasks_on_ray


def test_results_are_those_of_the_local_engine(on_ray, tmp_path):
    def tasks(folder: Path) -> list[Task]:
        folder.mkdir()
        good = [Task(f"{n}", workload.count_to, (folder / f"{n}", n)) for n in range(2)]
        return [
            *good,
            Task("bad", workload.raise_value_error),
            Task("refused", workload.raise_input_error),
            Task("killed", workload.kill_itself, (signal.SIGKILL,)),
            Task("left", workload.leave, (3,)),
            Task("spoken", workload.speak, ("grüße",), folder / "log.txt"),
        ]

    def endings(results: Any) -> list[tuple[str, str | None, bool]]:
        return [(result.key, result.failure, result.refused) for result in results]

    here = run_tasks(tasks(tmp_path / "here"), jobs=2)
    seen: list[GridProgress] = []
    there = on_ray(tasks(tmp_path / "there"), jobs=None, watch=seen.append)
    assert endings(there) == endings(here)
    for name in ("0", "1", "log.txt"):
        first, second = (tmp_path / folder / name for folder in ("here", "there"))
        assert first.read_bytes() == second.read_bytes()
    for progress in seen:
        keys = [*progress.waiting, *progress.running, *(r.key for r in progress.results)]
        assert sorted(keys) == sorted(result.key for result in here)


def test_jobs_limits_how_many_run_at_the_same_time(on_ray, tmp_path):
    tasks = [Task(f"{n}", workload.interval, (tmp_path / f"{n}", 0.3)) for n in range(3)]
    crowds: list[int] = []
    on_ray(tasks, jobs=1, watch=lambda progress: crowds.append(len(progress.running)))
    assert max(crowds) == 1


def test_what_a_task_reads_goes_there_and_what_it_writes_comes_back(on_ray, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("3")
    task = stage(tmp_path, "run", rows=2)
    [result] = on_ray([task], jobs=None)
    assert result.succeeded, result.failure
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"row": 3}\n{"row": 4}\n'
    assert (tmp_path / "run" / "final" / "weights").read_text() == "3"
    assert (tmp_path / "run" / "config.yaml").read_text() == f"{tmp_path / 'run'}\n"
    assert not Path((tmp_path / "run" / "place").read_text()).exists()  # nothing is left there
    assert str(tmp_path) not in (tmp_path / "run" / "place").read_text()


def test_a_run_is_followed_and_locked_while_it_runs_there(on_ray, tmp_path):
    from abcrl.storage import read_last_row, read_status

    states = set()

    def watch(_: GridProgress) -> None:
        row = read_last_row(tmp_path / "run", "metrics") or {}
        states.add((read_status(tmp_path / "run"), row.get("row")))

    on_ray([stage(tmp_path, "run", rows=3, seconds=2.2)], jobs=None, watch=watch)
    assert {("running", 0), ("running", 1), ("finished", 2)} <= states
    assert not any(state == "killed" for state, _ in states)


def test_a_stopped_run_comes_back_and_goes_on_there_or_here(on_ray, tmp_path):
    def stop_when_it_runs(_: GridProgress) -> None:
        if (tmp_path / "run" / "metrics.jsonl").exists():
            raise KeyboardInterrupt

    task = stage(tmp_path, "run", rows=40, seconds=0.5)
    with pytest.raises(KeyboardInterrupt):
        on_ray([task], jobs=None, watch=stop_when_it_runs)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert (tmp_path / "run" / "stopped").read_text() == str(len(rows))
    assert '"interrupted"' in (tmp_path / "run" / "status.json").read_text()
    more = stage(tmp_path, "run", rows=len(rows) + 1)
    assert on_ray([more], jobs=None)[0].succeeded
    assert run_tasks([stage(tmp_path, "run", rows=len(rows) + 2)], jobs=1)[0].succeeded
    written = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert written == [f'{{"row": {number}}}' for number in range(len(rows) + 2)]


def test_a_task_that_does_not_stop_is_killed_after_the_grace_period(on_ray, tmp_path):
    def stop_when_it_runs(_: GridProgress) -> None:
        if read_pids(tmp_path):
            raise RuntimeError("enough")

    tasks = [Task("deaf", workload.sleep_long_and_deaf, (tmp_path / "deaf.pid",))]
    with pytest.raises(RuntimeError, match="enough"):
        on_ray(tasks, jobs=None, watch=stop_when_it_runs, grace_seconds=1.0)
    [pid] = read_pids(tmp_path)
    wait_for(lambda: not alive(pid))


@pytest.mark.slow
def test_a_task_whose_node_goes_away_runs_again_on_another(on_ray, connection, tmp_path):
    node = connection.add_node(num_cpus=1, object_store_memory=100 * 2**20, resources={"new": 1})
    connection.wait_for_nodes()
    removed: list[object] = []

    def remove_one(progress: GridProgress) -> None:
        if len(progress.running) == 3 and not removed:
            removed.append(connection.remove_node(node, allow_graceful=False))

    tasks = [stage(tmp_path, f"run-{n}", rows=6, seconds=1.5) for n in range(4)]
    results = on_ray(tasks, jobs=None, watch=remove_one)
    assert removed
    assert [result.failure for result in results] == [None] * 4
    logs = [(tmp_path / f"run-{n}.txt").read_text() for n in range(4)]
    assert sum("lost with" in log and "sent again" in log for log in logs) == 1
    for number in range(4):
        rows = (tmp_path / f"run-{number}" / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == 6


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_a_failure(on_ray, tmp_path):
    [task] = [Task("cursed", workload.kill_its_parent, (tmp_path / "tries",), tmp_path / "log.txt")]
    [result] = on_ray([task], jobs=None)
    assert result.failure is not None
    assert "could not be run to its end 3 times" in result.failure
    assert (tmp_path / "tries").read_text() == "xxx"


def test_a_node_that_cannot_be_written_to_fails_its_task_and_not_the_grid(
    on_ray, tmp_path, monkeypatch
):
    in_the_way = Path(tempfile.gettempdir()) / f"abcrl-{os.getpid()}-is-a-file"
    monkeypatch.setattr("abcrl.grid.ray_engine.SCRATCH_PREFIX", f"{in_the_way.name}/")
    in_the_way.touch()
    try:
        [result] = on_ray([Task("a", workload.speak, ("hello",), tmp_path / "log.txt")], jobs=None)
    finally:
        in_the_way.unlink()
    assert result.failure is not None
    assert "could not be run to its end 3 times" in result.failure
    assert "NotADirectoryError" in result.failure


def test_a_node_with_other_code_is_refused_by_name(on_ray, monkeypatch):
    monkeypatch.setattr("abcrl.grid.ray_engine.describe_code", lambda: "0.0.9 (code abc)")
    with pytest.raises(InputError) as caught:
        on_ray([Task("a", workload.speak, ("hello",))], jobs=None)
    assert str(caught.value).startswith(
        "grid.engine: every node must run the abcrl of this machine, 0.0.9 (code abc), received "
        "node "
    )


def test_what_no_node_can_do_is_refused(on_ray):
    task = Task("a", workload.speak, ("hello",))
    for needs in (Needs(cpus=2), Needs(gpu=True)):
        with pytest.raises(InputError, match=r"a node of the Ray cluster must have"):
            on_ray([task], jobs=None, needs=needs)
    with pytest.raises(ValueError, match="jobs must be at least 1, received 0"):
        on_ray([task], jobs=0)


def test_a_node_that_cannot_import_the_task_says_so(on_ray, tmp_path, monkeypatch):
    (tmp_path / "here_only.py").write_text("def work():\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RunFailedError, match="No module named 'here_only'"):
        on_ray([Task("a", __import__("here_only").work)], jobs=None)


def test_a_driver_that_is_killed_leaves_no_worker(connection, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from abcrl.grid import Task, connected, run_tasks_on_ray\n"
        "from tests.grid import workload\n"
        "with connected(sys.argv[1]):\n"
        "    files = [Path(sys.argv[2]) / f'{n}.pid' for n in range(2)]\n"
        "    tasks = [Task(file.name, workload.sleep_long, (file,)) for file in files]\n"
        "    run_tasks_on_ray(tasks, jobs=None)\n"
    )
    driver = subprocess.Popen([sys.executable, script, connection.address, tmp_path])
    wait_for(lambda: len(read_pids(tmp_path)) == 2)
    driver.kill()
    driver.wait()
    wait_for(lambda: not any(alive(pid) for pid in read_pids(tmp_path)))


@pytest.mark.slow
def test_an_address_where_nothing_answers_is_refused_in_time():
    pytest.importorskip("ray")
    command = (
        "from abcrl.grid import connected\n"
        "try:\n"
        "    with connected('127.0.0.1:9'):\n"
        "        pass\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, timeout=45
    )
    assert done.stdout.startswith("grid.address: must be HOST:PORT of a Ray cluster")
    assert done.stderr == ""


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as caught, connected(None):
        pass
    assert str(caught.value) == (
        "grid.engine: must be local, or ray where Ray is installed, received ray; "
        'pip install "abcrl[ray]"'
    )


def test_no_node_gets_more_tasks_than_it_has_cores_for(on_ray, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "more").write_bytes(bytes(2**20))  # fetched, not sent along
    tasks = [stage(tmp_path, f"run-{n}", rows=2, seconds=2.5) for n in range(5)]
    crowds: list[int] = []
    results = on_ray(tasks, jobs=None, watch=lambda progress: crowds.append(len(progress.running)))
    assert [result.failure for result in results] == [None] * 5
    assert max(crowds) == 2
