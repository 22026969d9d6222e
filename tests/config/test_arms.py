"""Arms, what is declared where nobody declares, and sweeps."""

import pytest

from abcrl.config import (
    ArmConfig,
    CompareConfig,
    InputError,
    RewardMode,
    load_config,
    plan_cells,
    to_yaml,
)

THREE = (
    "arms=[{name: abc, reward: {mode: abc}}, {name: rlhf, reward: {mode: rlhf}}, "
    "{name: rlhf-lambda1, reward: {mode: rlhf}, gae_lambda: 1.0}]"
)


def compare(*assignments: str) -> CompareConfig:
    return load_config(CompareConfig, assignments=assignments)


def declared(config: CompareConfig) -> list[tuple[str, str]]:
    return [(one.arm, one.baseline) for one in config.declared_contrasts]


def test_an_arm_may_set_any_key_of_ppo():
    config = compare(
        "arms=[{name: a, reward: {mode: abc, layer: -2}, settings: {kl.coef: 0.3, "
        "response: {cap_high: 30}, ppo.learning_rate: 1.0e-3}}]",
        "ppo.response.cap_low=12",
    )
    run = plan_cells(config)[0].run
    assert (run.kl.coef, run.response.cap_high, run.ppo.learning_rate) == (0.3, 30, 1e-3)
    assert run.response.cap_low == 12  # what the arm does not name is as in ppo
    assert run.reward.layer == -2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{kl.coeff: 0.3}", "arm a: kl.coeff: unknown key, received 0.3; did you mean kl.coef?"),
        ("{kl.coef: many}", "arm a: kl.coef: must be a valid number, received 'many'"),
        ("{reward.beta: 0.5}", "settings must leave out reward, received {'beta': 0.5}; it has"),
        ("{steps: 5}", "settings must leave out steps, received 5; held-out scores of one"),
        ("{evaluation.prompts: 5}", "settings must leave out evaluation"),
    ],
)
def test_settings_that_are_none_are_refused_in_one_line(settings, said):
    with pytest.raises(InputError) as caught:
        compare(f"arms=[{{name: a, reward: {{mode: abc}}, settings: {settings}}}]")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_contrasts_are_those_that_could_show_something():
    config = compare(
        "arms=[{name: abc, reward: {mode: abc}}, {name: rlhf, reward: {mode: rlhf}}, "
        "{name: rlhf-lambda1, reward: {mode: rlhf}, gae_lambda: 1.0}, "
        "{name: uniform-0.8, reward: {mode: uniform, beta: 0.8}}, "
        "{name: uniform, reward: {mode: uniform}}, {name: shuffled, reward: {mode: shuffled}}, "
        "{name: position, reward: {mode: position}}]"
    )
    assert declared(config) == [
        ("abc", "rlhf"),
        ("uniform-0.8", "rlhf"),
        ("uniform", "rlhf"),
        ("rlhf-lambda1", "rlhf"),
        ("abc", "rlhf-lambda1"),
        ("abc", "uniform-0.8"),
        ("abc", "shuffled"),
    ]


def test_the_baseline_is_discounted_wherever_it_stands():
    config = compare(THREE.replace("gae_lambda: 1.0", "gae_lambda: 0.95").replace(
        "{name: rlhf, reward: {mode: rlhf}}", "{name: rlhf, reward: {mode: rlhf}, gae_lambda: 1.0}"
    ))  # fmt: skip
    assert declared(config) == [
        ("abc", "rlhf-lambda1"),
        ("rlhf", "rlhf-lambda1"),
        ("abc", "rlhf"),
    ]


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


def test_all_modes_are_the_given_arms_and_every_other():
    config = compare(THREE).select_arms(["all"])
    names = [arm.name for arm in config.arms]
    assert names[:3] == ["abc", "rlhf", "rlhf-lambda1"]
    assert {arm.reward.mode for arm in config.arms} == set(RewardMode)
    assert "uniform" in names
    assert "uniform-0.8" in names
    assert names.count("rlhf-lambda1") == 1


def test_margins_are_of_arms_that_are_there():
    stated = "contrasts=[{arm: abc, baseline: rlhf, margin: 0.2, margin_of: [abc, rlhf-lambda1]}]"
    (one,) = compare(THREE, stated).declared_contrasts
    assert one.margin_of == ("abc", "rlhf-lambda1")
    with pytest.raises(InputError, match="received 'uniform'"):
        compare(THREE, stated.replace("rlhf-lambda1", "uniform"))
    with pytest.raises(InputError, match="margin must be given with margin_of"):
        compare(THREE, stated.replace("margin: 0.2, ", ""))


def test_margins_follow_the_sweep():
    stated = "contrasts=[{arm: abc, baseline: rlhf-lambda1, margin: 0.2, margin_of: [abc, rlhf]}]"
    first = compare(THREE, stated, "sweep={kl.coef: [0.1, 0.2]}").declared_contrasts[0]
    assert first.margin_of == ("abc@kl.coef=0.1", "rlhf@kl.coef=0.1")


def test_an_arm_of_a_mode_is_named_after_it():
    assert ArmConfig.of_mode(RewardMode.ABC_D).name == "abc-d"
