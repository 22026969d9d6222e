"""How a grid ends that is not left to finish: nothing of it lives on, and tasks may tidy up."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import pytest

from abcrl.grid import GridProgress, Task, run_tasks
from tests.grid import workload
from tests.grid.processes import (
    alive,
    disposition,
    group_members,
    read_pids,
    start_grid_elsewhere,
    wait_for,
)


@pytest.mark.parametrize("function", [workload.sleep_long, workload.sleep_long_and_deaf])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_early_stops_and_joins_the_workers(tmp_path, function, error):
    tasks = [Task(f"{n}", function, (tmp_path / f"{n}.pid",)) for n in range(4)]
    pids: list[int] = []

    def leave_when_two_run(_: GridProgress) -> None:
        pids[:] = read_pids(tmp_path)
        if len(pids) == 2:
            raise error

    begun = time.monotonic()
    with pytest.raises(error):
        run_tasks(tasks, jobs=2, watch=leave_when_two_run, grace_seconds=0.5)
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)
    assert len(read_pids(tmp_path)) == 2
    assert time.monotonic() - begun < 15
    assert multiprocessing.active_children() == []


def test_kill_9_of_the_parent_leaves_no_worker(tmp_path):
    with start_grid_elsewhere(tmp_path) as parent:
        wait_for(lambda: len(read_pids(tmp_path)) == 2)
        pids = read_pids(tmp_path)
        assert all(alive(pid) for pid in pids)
        parent.kill()
        parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert len(read_pids(tmp_path)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_the_grid_cleanly(tmp_path, number):
    with start_grid_elsewhere(tmp_path) as parent:
        wait_for(lambda: len(read_pids(tmp_path)) == 2)
        os.killpg(parent.pid, number)
        assert parent.wait(timeout=60) == 130
    wait_for(lambda: group_members(parent.pid) == [])
    assert (tmp_path / "stderr").read_text() == ""
    assert len(list(tmp_path.glob("*.tidied"))) == 2


def test_ctrl_c_while_the_workers_still_import_ends_the_grid_cleanly(tmp_path):
    (tmp_path / "slow_import.py").write_text(
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'importing')!r}).touch()\n"
        "time.sleep(2)\n"
    )
    with start_grid_elsewhere(tmp_path, preload=("slow_import",)) as parent:
        wait_for((tmp_path / "importing").exists)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(timeout=60) == 130
    wait_for(lambda: group_members(parent.pid) == [])
    assert (tmp_path / "stderr").read_text() == ""
    assert list(tmp_path.glob("*.pid")) == []


def stop_when(condition: Callable[[], object]) -> Callable[[GridProgress], None]:
    """A watcher that leaves the grid, as Ctrl-C does, once the condition holds."""

    def watch(_: GridProgress) -> None:
        if condition():
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("function", [workload.tidy_up, workload.tidy_up_at_second_asking])
def test_a_task_meets_the_stop_as_a_keyboard_interrupt(tmp_path, monkeypatch, function, method):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: [method])
    task = Task("a", function, (tmp_path / "a.pid",), tmp_path / "log")
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([task], jobs=1, watch=stop_when((tmp_path / "a.pid").exists), grace_seconds=60.0)
    assert time.monotonic() - begun < 50
    assert (tmp_path / "a.tidied").exists()
    assert (tmp_path / "log").read_text() == "stopped by SIGTERM\n"


def test_a_stop_reaches_a_worker_that_still_imports(tmp_path, monkeypatch):
    module = tmp_path / "slow_to_import.py"
    module.write_text("def work():\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    task = Task("a", __import__("slow_to_import").work, (), tmp_path / "log")
    began = tmp_path / "began"
    module.write_text(f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([task], jobs=1, watch=stop_when(began.exists), grace_seconds=50.0)
    assert time.monotonic() - begun < 40
    assert (tmp_path / "log").read_text() == "stopped by SIGTERM\n"


def test_a_stop_at_the_end_of_a_task_does_not_lose_its_outcome():
    (result,) = run_tasks([Task("a", workload.fail_and_be_stopped)], jobs=1)
    assert result.failure == "StoppedWhileItIsDescribedError: a reason"


def test_a_second_ctrl_c_cuts_the_grace_period_short(tmp_path):
    task = Task("a", workload.sleep_long_and_deaf, (tmp_path / "a.pid",))
    pids: list[int] = []

    def interrupt_twice(_: GridProgress) -> None:
        pids[:] = read_pids(tmp_path)
        if pids:
            # The second comes while the worker is being stopped: one of these, on any machine.
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    begun = time.monotonic()
    try:
        # It takes effect once more when the worker is gone, but changes nothing then. And whoever
        # runs the tests in the background may have Ctrl-C ignored.
        with (
            disposition(signal.SIGINT, signal.default_int_handler),
            pytest.raises(KeyboardInterrupt),
        ):
            run_tasks([task], jobs=1, watch=interrupt_twice, grace_seconds=55.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - begun < 40
    assert not any(alive(pid) for pid in pids)
