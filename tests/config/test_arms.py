"""Arms: what they set, and those that stand for modes."""

import pytest

from abcrl.config import (
    ArmConfig,
    InputError,
    RewardMode,
    plan_cells,
)
from tests.config.comparisons import THREE, TWO, compare, declared, refusal


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


def test_all_modes_are_the_given_arms_and_every_other():
    config = compare(THREE).select_arms(["all"])
    names = [arm.name for arm in config.arms]
    assert names[:3] == ["abc", "rlhf", "rlhf-lambda1"]
    assert {arm.reward.mode for arm in config.arms} == set(RewardMode)
    assert "uniform" in names
    assert "uniform-0.8" in names
    assert names.count("rlhf-lambda1") == 1


def test_an_arm_of_a_mode_is_named_after_it():
    assert ArmConfig.of_mode(RewardMode.ABC_D).name == "abc-d"


def test_an_arm_says_its_lambda_once():
    said = refusal("arms=[{name: a, reward: {}, gae_lambda: 0.9, settings: {ppo.gae_lambda: 1.0}}]")
    assert "settings must leave out ppo.gae_lambda: the arm has gae_lambda 0.9" in said


def test_every_arm_fits_the_context_at_every_point():
    fits = "ppo.prompt.max_tokens + ppo.response.cap_high of arm {} must fit sft.model"
    of_sweep = refusal(TWO, "sweep={response.cap_high: [60, 300]}")
    assert fits.format("abc@response.cap_high=300") in of_sweep
    of_arm = refusal("arms=[{name: a, reward: {}, settings: {response.cap_high: 300}}]")
    assert fits.format("a") in of_arm
    # What no arm samples needs no room.
    arms = "arms=[{name: a, reward: {}, settings: {response.cap_high: 30}}]"
    assert compare(arms, "ppo.response.cap_high=300").arms[0].name == "a"


def test_no_arm_gives_the_reward_model_what_it_has_not_learnt_to_read():
    template = "settings: {score.template: '{prompt}: {response}'}"
    said = refusal(f"arms=[{{name: a, reward: {{}}, {template}}}]")
    assert "received train_rm.template None, ppo.score.template of arm a '{prompt}:" in said


@pytest.mark.parametrize(
    ("assignments", "missing"),
    [
        (["ppo.ppo.gae_lambda=1.0"], "rlhf-lambda1"),
        (["sweep={ppo.gae_lambda: [0.95, 1.0]}"], "rlhf-lambda1"),
        (["sweep={reward.beta: [0.2, 0.6]}"], "uniform-0.8"),
    ],
)
def test_all_modes_add_no_arm_that_is_there_already(assignments, missing):
    assert missing in [arm.name for arm in compare(TWO).select_arms(["all"]).arms]
    config = compare(TWO, *assignments).select_arms(["all"])
    assert {arm.reward.mode for arm in config.arms} == set(RewardMode)
    assert missing not in [arm.name for arm in config.arms]


def test_all_modes_have_uniform_credit_as_dense_as_abc():
    arms = TWO.replace("mode: abc}", "mode: abc, beta: 0.3}")
    config = compare(arms).select_arms(["all"])
    assert ("abc", "uniform-0.3") in declared(config)


def test_all_modes_are_added_where_an_arm_goes_with_swept_values_alone():
    arms = "arms=[{name: a, reward: {mode: rlhf}, settings: {response.cap_low: 20}}]"
    with pytest.raises(InputError, match=r"arm a: response: cap_high must be at least cap_low"):
        compare(arms)
    config = compare(arms, "sweep={response.cap_high: [30, 60]}").select_arms(["all"])
    assert "rlhf-lambda1" in [arm.name for arm in config.arms]
