"""The configuration of `abcrl eval`, and defaults that stand below a file."""

import copy
from pathlib import Path

import pytest

from abcrl.config import EvalConfig, InputError, load_config

MODELS = {"policy": "a/b", "reward_model": "c/d"}


def test_a_policy_and_a_judge_are_all_that_it_takes():
    config = load_config(EvalConfig, flags=MODELS)
    assert (config.against, config.reference, config.output) == (None, None, None)
    assert (config.prompts, config.samples, config.seed) == (64, 4, 0)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("prompts", 1, "prompts: must be greater than or equal to 2"),
        ("samples", 0, "samples: must be greater than or equal to 1"),
        ("response.cap_high", 4, "response: cap_high must be at least cap_low"),
        ("score.center", "none", "score.center: unknown key"),
    ],
)
def test_bad_values_are_refused(key, value, problem):
    with pytest.raises(InputError, match=problem):
        load_config(EvalConfig, flags={key: value}, defaults=MODELS)


def test_a_model_that_is_no_run_takes_a_judge():
    with pytest.raises(InputError, match=r"reward_model: must be given; .* unless MODEL is a PPO"):
        load_config(EvalConfig, flags={"policy": "a/b"})


def test_defaults_stand_below_file_assignments_and_flags(tmp_path: Path):
    file = tmp_path / "eval.yaml"
    file.write_text("prompts: 8\ndata: {limit: 50}\n", encoding="utf-8")
    defaults = {
        **MODELS,
        "prompts": 4,
        "samples": 9,
        "seed": 3,
        "data": {"limit": 300, "seed": 5},
        "response": {"cap_low": 12, "cap_high": 14},
    }
    before = copy.deepcopy(defaults)
    config = load_config(
        EvalConfig,
        file=file,
        assignments=["response.cap_high=20"],
        flags={"samples": 2},
        defaults=defaults,
    )
    assert defaults == before
    assert (config.prompts, config.samples, config.seed) == (8, 2, 3)
    assert (config.data.limit, config.data.seed) == (50, 5)
    assert (config.response.cap_low, config.response.cap_high) == (12, 20)
