import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

from abcrl.grid import Task, run_tasks
from tests.grid import workload
from tests.grid.processes import ROOT, start_grid_elsewhere


def test_preloaded_modules_are_there_before_the_task(tmp_path):
    script = tmp_path / "grid.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from abcrl.grid import Task, run_tasks
            from tests.grid import workload

            if __name__ == "__main__":
                tasks = [Task("a", workload.list_modules, (Path({str(tmp_path / "out")!r}),))]
                (result,) = run_tasks(tasks, jobs=1, preload=["colorsys", "no_such_module"])
                assert result.succeeded, result.failure
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script)], env=environment, check=True)
    modules = (tmp_path / "out").read_text().splitlines()
    if "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin":
        assert "colorsys" in modules
    assert "no_such_module" not in modules


def test_a_preloaded_module_that_fails_at_import_is_reported(tmp_path):
    (tmp_path / "broken_import.py").write_text("raise RuntimeError('broken')\n")
    with start_grid_elsewhere(tmp_path, preload=("broken_import",)) as parent:
        assert parent.wait(timeout=20) == 1
    message = (tmp_path / "stderr").read_text()
    assert "RuntimeError: broken" in message
    assert "RunFailedError: no process for task '0'" in message


def test_where_there_is_no_fork_server_workers_are_spawned(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    tasks = [
        Task("good", workload.write, (tmp_path / "good", "done"), tmp_path / "log"),
        Task("bad", workload.kill_itself, (signal.SIGKILL,)),
    ]
    good, bad = run_tasks(tasks, jobs=2, preload=["colorsys"])
    assert good.succeeded
    assert (tmp_path / "good").read_text() == "done"
    assert bad.failure == "the process was killed by SIGKILL (out of memory?)"
