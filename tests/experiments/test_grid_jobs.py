"""The benchmark of jobs: grids of the real command, timed as a whole and held together."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

SMALL = [
    "sft.training.max_steps=3",
    "train_rm.training.max_steps=3",
    "train_rm.credit_texts=4",
    "ppo.data.limit=300",
    "ppo.evaluation.prompts=4",
    "ppo.evaluation.interval=1",
    "ppo.score.center_samples=4",
    "ppo.ppo.batch_size=4",
    "ppo.ppo.mini_batch_size=4",
]


@pytest.fixture(scope="module")
def bench(load_script):
    return load_script("benchmarks", "grid_jobs")


@pytest.mark.slow
def test_grids_of_one_and_two_jobs_are_timed_and_equal(bench, tmp_path, capsys):
    file = tmp_path / "jobs.json"
    options = ["--cells", 2, "--steps", 1, "--repeats", 1, "--json", file]
    sets = [part for one in SMALL for part in ("--set", one)]
    bench.main([*map(str, options), *sets])
    seconds = json.loads(file.read_text())
    assert seconds.keys() == {"1", "2"}
    assert all(one > 0 for own in seconds.values() for one in own)
    assert "the same bytes" in capsys.readouterr().out


def test_grids_that_differ_end_the_program(bench, monkeypatch):
    def run_grid(folder: Path, jobs: int, *_: object) -> float:
        for name in bench._RESULTS:
            path = folder / "cells" / "abc" / "seed-0" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{jobs}")
        return 1.0

    monkeypatch.setattr(bench, "train_models", lambda *_: [])
    monkeypatch.setattr(bench, "run_grid", run_grid)
    settings = Namespace(cells=1, steps=1, jobs=[1, 2], repeats=1, set=[])
    with pytest.raises(RuntimeError, match="turn-0-jobs-2 are not those of the first"):
        bench.measure(settings)
    settings.jobs = [1]
    assert bench.measure(settings) == {1: [1.0]}


def test_an_odd_number_of_cells_is_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--cells", "3"])
    assert "--cells must be even, received 3" in capsys.readouterr().err
