"""A comparison read from its folder: which cells count, and what the folders say beside."""

from pathlib import Path
from typing import Any

import pytest

from abcrl.analysis import ArmInfo
from abcrl.analysis.comparison import describe_arm, read_comparison
from abcrl.config import Cell, CompareConfig, plan_cells
from abcrl.storage import Declared, Look, append_look
from tests.tools.report.reported import configure, write_cell

CELLS = ("abc/seed-0", "rlhf/seed-0", "abc/seed-1", "rlhf/seed-1")


@pytest.fixture
def config(tmp_path) -> CompareConfig:
    folder = tmp_path / "runs"
    folder.mkdir()
    return configure(folder)


@pytest.fixture
def write(tiny_tokenizer):
    """Writes all cells but one, those of some keys with other fingerprints."""

    def run(config: CompareConfig, left_out: str = "", **prints: dict[str, str]) -> list[Cell]:
        for cell in plan_cells(config):
            if cell.key != left_out:
                own = {
                    "policy": str(cell.seed),
                    "reward_model": "rm",
                    "texts": "aa",
                    "labels": cell.key,
                }
                own |= prints.get(cell.arm.name.partition("@")[0], {})
                write_cell(cell, tiny_tokenizer, environment={"fingerprints": own})
        return plan_cells(config)

    return run


def failures(config: CompareConfig, reasons: dict[str, str] | None = None) -> list[tuple[str, str]]:
    return [(one.status, one.reason) for one in read_comparison(config, reasons).summary.failed]


def test_cells_on_the_same_models_have_nothing_to_note(config, write):
    write(config)
    summary = read_comparison(config).summary
    assert (summary.unequal_inputs, summary.reward_models) == ((), 1)
    assert "different" not in summary.verdicts[0]


@pytest.mark.parametrize("name", ["policy", "reward_model"])
def test_cells_on_other_models_are_noted(config, write, name):
    write(config, abc={name: "other"})
    summary = read_comparison(config).summary
    assert summary.unequal_inputs == (name,)
    assert "cells with the same seed ran on different models" in summary.verdicts[0]


def test_policies_with_other_networks_differ_by_design(tmp_path, write):
    arms: list[dict[str, Any]] = [
        {"name": "abc", "reward": {"mode": "abc"}, "settings": {"networks": {"lora": {"rank": 4}}}},
        {"name": "rlhf", "reward": {"mode": "rlhf"}},
    ]
    config = configure(tmp_path / "runs", arms=arms)
    Path(config.output).mkdir()
    write(config, abc={"policy": "with adapters"})
    assert read_comparison(config).summary.unequal_inputs == ()


@pytest.mark.parametrize("status", ["missing", "killed"])
def test_a_reason_is_taken_from_elsewhere_where_the_folder_has_none(config, write, status):
    cells = write(config, left_out="abc/seed-1")
    [cell] = [cell for cell in cells if cell.key == "abc/seed-1"]
    if status == "killed":
        cell.folder.mkdir(parents=True)
        (cell.folder / "status.json").write_text('{"state": "running"}')
    assert failures(config, {"abc/seed-1": "signal 9"}) == [(status, "signal 9")]


def test_the_reason_of_a_cell_that_has_begun_again_is_no_longer_true(config, write):
    cells = write(config, left_out="abc/seed-1")
    [cell] = [cell for cell in cells if cell.key == "abc/seed-1"]
    cell.folder.mkdir(parents=True)
    (cell.folder / "status.json").write_text('{"state": "interrupted"}')
    assert failures(config, {"abc/seed-1": "signal 9"}) == [("interrupted", "")]
    # One that has finished since has none at all.
    assert "rlhf" not in {
        one.arm.name for one in read_comparison(config, {"rlhf/seed-0": "x"}).summary.failed
    }


def test_a_cell_whose_metrics_cannot_be_read_counts_as_failed(config, write):
    cells = write(config)
    (cells[0].folder / "metrics.jsonl").write_text('{"step": 0, "eval/score": 1.0}\n[]\n')
    [(status, reason)] = failures(config)
    assert status == "failed"
    assert reason.startswith("metrics.jsonl:2: must be a row of metrics")


def test_earlier_looks_are_named_and_counted(config, write):
    write(config)
    arms, primary = ("abc", "rlhf", "uniform"), Declared("abc", "rlhf")
    now = Look((0, 1), arms, (primary,))
    append_look(Path(config.output), now)
    assert "look" not in read_comparison(config).summary.verdicts[0]
    append_look(Path(config.output), Look((0,), arms, (primary, Declared("abc", "uniform"))))
    summary = read_comparison(config).summary
    assert "; seeds added after a look at 1; Holm counts 1 contrast dropped" in summary.verdicts[0]
    assert summary.contrasts[0].family == 2


def test_a_swept_arm_knows_its_point(tmp_path):
    sweep = {"kl.coef": [0.1, 0.2], "reward.beta": [0.5]}
    cells = plan_cells(configure(tmp_path / "runs", sweep=sweep, seeds=[0]))
    assert [describe_arm(cell).point for cell in cells] == [
        "kl.coef=0.1,reward.beta=0.5",
        "kl.coef=0.1",
        "kl.coef=0.2,reward.beta=0.5",
        "kl.coef=0.2",
    ]
    plain = plan_cells(configure(tmp_path / "runs", seeds=[0]))
    assert describe_arm(plain[0]) == ArmInfo("abc", "abc", 0.8, 0.95, "")


def test_what_was_swept_is_compared_within_its_point(tmp_path, write):
    config = configure(tmp_path / "runs", sweep={"kl.coef": [0.1, 0.2]})
    Path(config.output).mkdir()
    write(config)
    summary = read_comparison(config).summary
    assert summary.baselines == {
        f"abc@kl.coef={value}": f"rlhf@kl.coef={value}" for value in (0.1, 0.2)
    }
    assert [one.baseline for one in summary.arrivals] == ["rlhf@kl.coef=0.1", "rlhf@kl.coef=0.2"]
