"""Sweeps: their points, what may not be swept, and what arms are called there."""

import pytest

from abcrl.config import (
    CompareConfig,
    InputError,
    load_config,
    plan_cells,
    to_yaml,
)
from tests.config.comparisons import THREE, TWO, compare, declared, refusal


def test_a_sweep_repeats_arms_and_contrasts_at_every_point():
    config = compare(THREE, "sweep={kl.coef: [0.1, 0.2]}")
    assert [arm.name for arm in config.swept_arms] == [
        "abc@kl.coef=0.1",
        "rlhf@kl.coef=0.1",
        "rlhf-lambda1@kl.coef=0.1",
        "abc@kl.coef=0.2",
        "rlhf@kl.coef=0.2",
        "rlhf-lambda1@kl.coef=0.2",
    ]
    assert declared(config)[:3] == [
        ("abc@kl.coef=0.1", "rlhf@kl.coef=0.1"),
        ("rlhf-lambda1@kl.coef=0.1", "rlhf@kl.coef=0.1"),
        ("abc@kl.coef=0.1", "rlhf-lambda1@kl.coef=0.1"),
    ]
    assert len(declared(config)) == 6
    coefficients = {cell.arm.name: cell.run.kl.coef for cell in plan_cells(config)}
    assert coefficients["abc@kl.coef=0.1"] == 0.1
    assert coefficients["rlhf@kl.coef=0.2"] == 0.2


def test_a_sweep_of_beta_leaves_the_sparse_arms_as_they_are():
    config = compare(THREE, "sweep={reward.beta: [0.2, 1.0]}")
    assert [arm.name for arm in config.swept_arms] == [
        "abc@reward.beta=0.2",
        "rlhf",
        "rlhf-lambda1",
        "abc@reward.beta=1.0",
    ]
    assert declared(config) == [
        ("abc@reward.beta=0.2", "rlhf"),
        ("rlhf-lambda1", "rlhf"),
        ("abc@reward.beta=0.2", "rlhf-lambda1"),
        ("abc@reward.beta=1.0", "rlhf"),
        ("abc@reward.beta=1.0", "rlhf-lambda1"),
    ]


def test_axes_are_crossed():
    config = compare(THREE, "sweep={kl.coef: [0.1, 0.2], response.cap_high: [60, 90]}")
    names = [arm.name for arm in config.swept_arms]
    assert len(names) == 12
    assert names[3] == "abc@kl.coef=0.1,response.cap_high=90"


def test_what_is_swept_must_be_a_key():
    with pytest.raises(InputError, match=r"arm abc@kl\.koef=1: kl\.koef: unknown key"):
        compare(THREE, "sweep={kl.koef: [1, 2]}")
    with pytest.raises(InputError, match=r"sweep\.kl\.coef"):
        compare(THREE, "sweep={kl.coef: []}")


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("steps: [1, 2]", "sweep must leave out steps: held-out scores of one comparison have"),
        ("data.limit: [5]", "sweep must leave out data.limit: held-out scores"),
        ("reward.layer: [-1, -2]", "sweep must leave out reward.layer: of an arm's reward only"),
        ("reward.mode: [abc]", "sweep must leave out reward.mode: of an arm's reward only beta"),
    ],
)
def test_what_would_be_ignored_or_not_comparable_is_no_axis(axis, said):
    with pytest.raises(InputError) as caught:
        compare(THREE, f"sweep={{{axis}}}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_swept_comparison_is_read_back(tmp_path):
    config = compare(THREE, "sweep={kl.coef: [0.1, 0.2]}")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(CompareConfig, file=tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("arm", "axis", "key"),
    [
        ("{name: a, reward: {}, settings: {kl.coef: 0.3}}", "kl.coef: [0.1, 0.2]", "kl.coef"),
        ("{name: a, reward: {}, settings: {kl.coef: 0.3}}", "kl: [{coef: 0.1}]", "kl.coef"),
        ("{name: a, reward: {}, settings: {networks: {lora: null}}}",
         "networks.lora.rank: [4]", "networks.lora"),
        ("{name: a, reward: {}, settings: {networks: {lora: {rank: 4}}}}",
         "networks.lora: [null]", "networks.lora.rank"),
        ("{name: a, reward: {}, gae_lambda: 0.9}", "ppo.gae_lambda: [0.95, 1.0]", "ppo.gae_lambda"),
        ("{name: a, reward: {beta: 0.5}}", "reward.beta: [0.5, 1.0]", "reward.beta"),
    ],
)  # fmt: skip
def test_what_an_arm_sets_itself_is_not_swept(arm, axis, key):
    said = refusal(f"arms=[{arm}]", f"sweep={{{axis}}}")
    assert f"sweep must leave out {axis.partition(':')[0]}: arm a sets {key} itself" in said


def test_an_arm_may_set_what_stands_beside_a_swept_key():
    arm = "arms=[{name: a, reward: {}, settings: {kl: {controller: fixed}}}]"
    config = compare(arm, "sweep={kl.coef: [0.1, 0.2]}")
    assert [cell.run.kl.controller for cell in plan_cells(config)] == ["fixed"] * 6


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("kl.coef: [1, 0.2, 1.0]", "sweep.kl.coef must have different values, received 1 and 1.0"),
        ("kl: [{coef: 1}, {coef: 1.0}]", "sweep.kl must have different values"),
        ("kl: [{coef: 1}], kl.coef: [2]", "sweep must vary each key once, received kl and kl.coef"),
        ("reward.beta: [null, 0.8]", "abc@reward.beta=null and abc@reward.beta=0.8 would be the"),
        ("kl: [{coef: 0.2}, {target: 6}]", "abc@kl=#1 and abc@kl=#2 would be the same run"),
        ("reward.beta: [2]", "arm abc: beta: must be less than or equal to 1, received 2"),
    ],
)
def test_no_point_of_a_sweep_stands_twice(axis, said):
    assert said in refusal(TWO, f"sweep={{{axis}}}")


@pytest.mark.parametrize(
    ("axis", "read"),
    [
        ("kl.target: [3, 6]", "ppo.kl.controller=adaptive"),
        ("kl.horizon: [3, 6]", "ppo.kl.controller=adaptive"),
        ("kl.loss_coef: [0.1, 0.2]", "ppo.kl.loss=k2"),
        ("score.center_samples: [8, 9]", "ppo.score.center=sft"),
    ],
)
def test_a_key_that_nothing_reads_is_not_swept(axis, read):
    unread = ("ppo.kl.controller=fixed", "ppo.kl.loss=none", "ppo.score.center=none")
    assert "would be the same run" in refusal(TWO, f"sweep={{{axis}}}", *unread)
    assert len(compare(TWO, f"sweep={{{axis}}}", *unread, read).swept_arms) == 4


def test_beta_is_swept_where_an_arm_has_one():
    sparse = "arms=[{name: rlhf, reward: {mode: rlhf}}]"
    assert "sweep must leave out reward.beta: none of the arms has a beta" in refusal(
        sparse, "sweep={reward.beta: [0.5]}"
    )


HOSTILE = "{prompt}/../../../{response}"


def test_whatever_is_swept_the_cells_stay_in_their_folder(tmp_path):
    axis = f"sweep={{score.template: ['{HOSTILE}', '{{prompt}} {{response}}', chat, null]}}"
    existing = ("train_rm=null", "reward_model=a/b", f"output={tmp_path}")
    config = compare(TWO, axis, *existing)
    names = [arm.name for arm in config.swept_arms]
    assert names[::2] == [
        "abc@score.template=#1",
        "abc@score.template=#2",
        "abc@score.template=chat",
        "abc@score.template=null",
    ]
    cells = plan_cells(config)
    assert cells[0].run.score.template == HOSTILE
    assert all(cell.folder.resolve().parents[1] == tmp_path / "cells" for cell in cells)
    assert HOSTILE in to_yaml(config)


def test_values_that_read_alike_have_different_names():
    axis = f'sweep={{score.positive_label: [1, "1", POSITIVE, "a b", a/b, {"a" * 25}]}}'
    config = compare(TWO, axis, "train_rm=null", "reward_model=a/b")
    labels = [arm.name.partition("=")[2] for arm in config.swept_arms][::2]
    assert labels == ["#1", "#2", "POSITIVE", "#4", "#5", "#6"]
    assert [cell.run.score.positive_label for cell in plan_cells(config)][:4:2] == [1, "1"]


def test_names_of_swept_arms_have_an_end():
    name = "a" * 64
    arms = f"arms=[{{name: {name}, reward: {{mode: abc}}}}]"
    two = "ppo.learning_rate: [1.0e-05], response.temperature: [0.7]"
    [arm] = compare(arms, f"sweep={{{two}}}").swept_arms
    assert arm.name == f"{name}@ppo.learning_rate=1e-05,response.temperature=0.7"
    said = refusal(arms, f"sweep={{{two}, response.cap_high: [90]}}")
    assert "its name must be at most 120 letters" in said
