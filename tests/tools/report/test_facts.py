"""What differs between arms in effect, and on what the verdicts are conditional."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import RewardMode, plan_cells, to_yaml
from abcrl.storage import write_atomically, write_json
from abcrl.tools.report.conditions import Conditions, read_conditions
from abcrl.tools.report.facts import differing_between_arms
from tests.tools.report.reported import configure


def arm(name: str, mode: str, beta: float | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "reward": {"mode": mode, "beta": beta}, **more}


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([arm("null", "abc"), arm("explicit", "abc", 0.8)], {}),
        (
            [arm("abc", "abc"), arm("uniform", "uniform")],
            {"reward.mode": ("abc", "uniform"), "reward.beta": ("0.8", "1.0")},
        ),
        (
            [arm("abc", "abc", 1.0), arm("rlhf", "rlhf")],
            {"reward.mode": ("abc", "rlhf"), "reward.beta": ("1.0", "none")},
        ),
        ([arm("none", "rlhf"), arm("named", "rlhf", gae_lambda=0.95)], {}),
        (
            [arm("none", "rlhf"), arm("named", "rlhf", gae_lambda=1.0)],
            {"ppo.gae_lambda": ("0.95", "1.0")},
        ),
        (
            [
                arm("whole", "abc", settings={"ppo": {"mini_batch_size": 4}}),
                arm("same", "abc", settings={"ppo": {"mini_batch_size": 4, "micro_batch_size": 4}}),
            ],
            {},
        ),
    ],
)
def test_what_is_in_force_is_compared_not_what_was_written(tmp_path, arms, expected):
    cells = plan_cells(configure(tmp_path / "runs", arms=arms, seeds=[0]))
    troubles: list[str] = []
    found = differing_between_arms(cells, troubles=troubles)
    assert {one.key: one.values for one in found} == expected
    assert troubles == []


def test_the_beta_of_every_mode_is_its_default(tmp_path):
    arms = [arm(mode.value, mode.value) for mode in RewardMode]
    cells = plan_cells(configure(tmp_path / "runs", arms=arms, seeds=[0]))
    [_, beta] = differing_between_arms(cells, troubles=[])
    expected = {"rlhf": "none", "uniform": "1.0"}
    assert beta.values == tuple(expected.get(mode.value, "0.8") for mode in RewardMode)


def test_what_arms_share_they_share_in_a_folder_that_was_moved(tmp_path):
    config = configure(
        tmp_path / "runs", seeds=[0], sft={}, train_rm={}, policy=None, reward_model=None
    )
    begun, *_ = plan_cells(config)
    write_atomically(make_folder(begun.folder) / "config.yaml", to_yaml(begun.run))
    moved = shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    cells = plan_cells(config.replace(output=str(moved)))
    found = differing_between_arms(cells, troubles=[])
    assert {one.key for one in found} == {"reward.mode", "reward.beta"}


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


PRINTS = {"policy": "p", "reward_model": "r", "texts": "t"}


@pytest.mark.parametrize(
    ("prints", "unequal", "expected"),
    [
        ([PRINTS, PRINTS], (), Conditions()),
        # A policy's differs from seed to seed by its value head.
        ([PRINTS, {**PRINTS, "policy": "q"}], (), Conditions()),
        (
            [PRINTS, {**PRINTS, "reward_model": "s"}],
            (),
            Conditions(("cells with different seeds have different reward models",)),
        ),
        (
            [PRINTS, {**PRINTS, "reward_model": "s"}],
            ("reward_model", "texts"),
            Conditions(
                (
                    "cells with the same seed have different reward models",
                    "cells with the same seed have different texts",
                )
            ),
        ),
        ([PRINTS, {"texts": "t"}, {}], (), Conditions(unknown=2)),
        ([], (), Conditions()),
    ],
)
def test_one_sft_and_one_reward_model_are_claimed_only_where_recorded(
    tmp_path, prints, unequal, expected
):
    folders = [tmp_path / f"{number}" for number in range(len(prints))]
    for folder, each in zip(folders, prints, strict=True):
        folder.mkdir()
        write_json(folder / "environment.json", {"fingerprints": each})
    found = read_conditions(folders, unequal)
    assert found == expected
    assert found.hold == (expected == Conditions())
