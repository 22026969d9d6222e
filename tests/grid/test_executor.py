import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from abcrl.grid import GridProgress, Task, run_tasks
from tests.grid import workload
from tests.grid.processes import read_pids


def test_results_stand_in_the_order_of_the_tasks(tmp_path):
    tasks = [
        Task("slow", workload.interval, (tmp_path / "slow", 1.0)),
        Task("quick", workload.interval, (tmp_path / "quick", 0.0)),
    ]
    endings: list[str] = []

    def watch(progress: GridProgress) -> None:
        endings[:] = [result.key for result in progress.results]

    results = run_tasks(tasks, jobs=2, watch=watch)

    assert [result.key for result in results] == ["slow", "quick"]
    assert all(result.succeeded for result in results)
    assert results[0].seconds >= 0.9
    assert endings == ["quick", "slow"]


def test_tasks_start_in_order_and_one_job_runs_one_at_a_time(tmp_path):
    tasks = [Task(f"{n}", workload.interval, (tmp_path / f"{n}", 0.05)) for n in range(4)]
    run_tasks(tasks, jobs=1)
    spans = [[float(word) for word in (tmp_path / f"{n}").read_text().split()] for n in range(4)]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_jobs_limits_how_many_run_at_the_same_time(tmp_path):
    tasks = [Task(f"{n}", workload.interval, (tmp_path / f"{n}", 0.4)) for n in range(6)]
    crowds: list[int] = []
    run_tasks(tasks, jobs=3, watch=lambda progress: crowds.append(len(progress.running)))
    assert max(crowds) == 3
    spans = [[float(word) for word in (tmp_path / f"{n}").read_text().split()] for n in range(6)]
    overlaps = [sum(begun <= at < ended for begun, ended in spans) for at, _ in spans]
    assert max(overlaps) in {2, 3}  # never 4; 2 if a process was slow to come up


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (workload.raise_value_error, (), "ValueError: first line; second line"),
        (workload.raise_input_error, (), "ppo.steps must be at least 1, received 0"),
        (workload.leave, (3,), "sys.exit(3) before the task was done"),
        (workload.leave, (0,), "sys.exit(0) before the task was done"),
        (workload.leave, ("enough",), "sys.exit(enough) before the task was done"),
        (
            workload.leave_at_once,
            (7,),
            "the process ended with exit code 7 before the task was done",
        ),
        (
            workload.leave_at_once,
            (0,),
            "the process ended with exit code 0 before the task was done",
        ),
        (workload.kill_itself, (signal.SIGKILL,), "the process was killed by SIGKILL"),
        (workload.kill_itself, (signal.SIGTERM,), "stopped by SIGTERM"),
        (workload.kill_itself, (signal.SIGSEGV,), "the process was killed by SIGSEGV"),
        (workload.write, (), "TypeError: write() missing 2 required positional arguments"),
    ],
)
def test_a_failure_stays_alone_and_has_a_reason(tmp_path, function, args, reason):
    tasks = [Task("bad", function, args), Task("good", workload.write, (tmp_path / "good", "done"))]
    bad, good = run_tasks(tasks, jobs=1)
    assert not bad.succeeded
    assert bad.failure is not None
    assert bad.failure.startswith(reason)
    assert "\n" not in bad.failure
    assert good.succeeded
    assert (tmp_path / "good").read_text() == "done"


def test_a_call_that_cannot_be_rebuilt_in_the_worker_is_a_failure(tmp_path, monkeypatch):
    module = tmp_path / "vanishing.py"
    module.write_text("def work():\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    vanishing = __import__("vanishing")
    module.unlink()
    (result,) = run_tasks([Task("gone", vanishing.work)], jobs=1)
    assert result.failure == "ModuleNotFoundError: No module named 'vanishing'"


def test_results_do_not_depend_on_jobs(tmp_path):
    outcomes = []
    for jobs in (1, 3):
        folder = tmp_path / f"jobs-{jobs}"
        folder.mkdir()
        tasks = [Task(f"{n}", workload.count_to, (folder / f"{n}", n)) for n in range(4)]
        tasks.insert(2, Task("bad", workload.raise_value_error))
        results = run_tasks(tasks, jobs=jobs)
        files = {path.name: path.read_text() for path in sorted(folder.iterdir())}
        outcomes.append(([(result.key, result.failure) for result in results], files))
    assert outcomes[0] == outcomes[1]


def test_every_task_is_in_one_place_of_the_progress(tmp_path):
    tasks = [Task(f"{n}", workload.interval, (tmp_path / f"{n}", 0.3)) for n in range(3)]
    seen: list[GridProgress] = []
    run_tasks(tasks, jobs=2, watch=seen.append)
    for progress in seen:
        keys = [*progress.waiting, *progress.running, *(r.key for r in progress.results)]
        assert sorted(keys) == ["0", "1", "2"]
    assert seen[0].running == ("0", "1")
    assert seen[0].waiting == ("2",)
    assert len(seen[-1].results) == 3


def test_the_watcher_is_called_while_a_task_runs(tmp_path):
    calls: list[float] = []
    task = Task("long", workload.interval, (tmp_path / "long", 1.2))
    run_tasks([task], jobs=1, watch=lambda _: calls.append(time.monotonic()))
    gaps = [after - before for before, after in pairwise(calls)]
    assert len(calls) >= 4
    assert max(gaps) < 1.0  # 0.25 and what a busy machine adds


def test_output_goes_to_the_log_and_is_appended(tmp_path, capfd):
    log = tmp_path / "deep" / "cell.log"
    run_tasks([Task("a", workload.speak, ("grüße 1",), log)], jobs=1)
    run_tasks([Task("a", workload.speak, ("grüße 2",), log)], jobs=1)
    assert log.read_text(encoding="utf-8").splitlines() == [
        "grüße 1",
        "grüße 1 (error stream)",
        "grüße 2",
        "grüße 2 (error stream)",
    ]
    assert capfd.readouterr() == ("", "")


def test_the_traceback_of_a_failure_is_in_the_log(tmp_path):
    log = tmp_path / "cell.log"
    run_tasks([Task("bad", workload.raise_value_error, (), log)], jobs=1)
    assert "Traceback" in log.read_text()
    assert "in raise_value_error" in log.read_text()


def test_a_log_that_cannot_be_written_is_a_failure_with_a_reason(tmp_path):
    (tmp_path / "file").write_text("")
    tasks = [Task("a", workload.speak, ("hello",), tmp_path / "file" / "cell.log")]
    (result,) = run_tasks(tasks, jobs=1)
    assert result.failure is not None
    assert "cell.log" in result.failure or "file" in result.failure


def test_workers_have_the_callers_folder_and_environment_and_ignore_ctrl_c(tmp_path, monkeypatch):
    # The fork server was started by an earlier test, elsewhere and without this variable.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRID_TEST", "yes")
    (result,) = run_tasks([Task("a", workload.report_surroundings, (Path("out"),))], jobs=1)
    assert result.succeeded
    assert (tmp_path / "out").read_text().splitlines() == [str(tmp_path), "yes", "True"]


def test_a_task_may_start_processes_of_its_own(tmp_path):
    (result,) = run_tasks([Task("a", workload.start_a_child, (tmp_path / "child",))], jobs=1)
    assert result.succeeded
    assert (tmp_path / "child").read_text() == "child"


def test_a_process_that_a_task_leaves_behind_holds_nothing_up(tmp_path):
    task = Task("a", workload.leave_a_child_behind, (tmp_path / "child.pid",))
    (result,) = run_tasks([task], jobs=1)
    assert result.failure == "the process was killed by SIGKILL (out of memory?)"
    assert result.seconds < 30
    (pid,) = read_pids(tmp_path)
    os.kill(pid, signal.SIGKILL)


def test_no_tasks_no_results():
    assert run_tasks([], jobs=2) == []


def test_bad_grids_are_refused_before_anything_runs(tmp_path):
    good = Task("a", workload.write, (tmp_path / "a", "text"))
    with pytest.raises(ValueError, match="jobs must be at least 1, received 0"):
        run_tasks([good], jobs=0)
    with pytest.raises(ValueError, match="different keys, received 'a' twice"):
        run_tasks([good, good], jobs=1)
    with pytest.raises(ValueError, match="task 'b' must be a module-level function"):
        run_tasks([good, Task("b", lambda: None)], jobs=1)
    with pytest.raises(ValueError, match="task 'b' must be a module-level function"):
        run_tasks([good, Task("b", workload.write, (threading.Lock(), ""))], jobs=1)
    assert not (tmp_path / "a").exists()
