"""Contrasts: as declared, and what is declared where nobody declares."""

import pytest

from abcrl.config import (
    InputError,
)
from tests.config.comparisons import THREE, TWO, compare, declared, refusal


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


def test_lambda_in_force_decides_what_is_declared():
    explicit = TWO.replace("mode: rlhf}", "mode: rlhf}, gae_lambda: 0.95")
    uniform = "{name: uniform-0.8, reward: {mode: uniform, beta: 0.8}}]"
    config = compare(explicit[:-1] + ", " + uniform)
    assert ("abc", "uniform-0.8") in declared(config)
    own = "{name: uniform-0.8, reward: {mode: uniform, beta: 0.8}, gae_lambda: 0.95}]"
    assert ("abc", "uniform-0.8") in declared(compare(TWO[:-1] + ", " + own))
    other = own.replace("0.95", "0.9")
    assert ("abc", "uniform-0.8") not in declared(compare(TWO[:-1] + ", " + other))


def test_settings_that_change_nothing_keep_an_arm_comparable():
    arms = TWO.replace("mode: rlhf}", "mode: rlhf}, settings: {kl.coef: 0.2}")
    assert declared(compare(arms)) == [("abc", "rlhf")]


def test_arms_of_which_something_else_differs_are_held_against_each_other_on_request_alone():
    arms = (
        "arms=[{name: abc, reward: {mode: abc}}, {name: rlhf, reward: {mode: rlhf}}, "
        "{name: abc-kl, reward: {mode: abc}, settings: {kl.coef: 0.4}}, "
        "{name: abc-fast, reward: {mode: abc}, settings: {ppo.learning_rate: 1.0e-3}}, "
        "{name: rlhf-kl, reward: {mode: rlhf}, settings: {kl.coef: 0.4}}]"
    )
    assert declared(compare(arms)) == [("abc", "rlhf"), ("abc-kl", "rlhf-kl")]
    stated = "contrasts=[{arm: abc-fast, baseline: rlhf}]"
    assert declared(compare(arms, stated)) == [("abc-fast", "rlhf")]


def test_shuffled_credit_is_held_against_its_own_source():
    arms = TWO[:-1] + ", {name: shuffled, reward: {mode: shuffled, layer: -2}}]"
    assert declared(compare(arms)) == [("abc", "rlhf")]
    assert ("abc", "shuffled") in declared(compare(arms.replace("abc}", "abc, layer: -2}")))


def test_in_a_sweep_of_beta_uniform_spreads_what_abc_does():
    arms = TWO[:-1] + ", {name: uniform, reward: {mode: uniform}}]"
    assert ("abc", "uniform") not in declared(compare(arms))
    config = compare(arms, "sweep={reward.beta: [0.2, 0.6]}")
    for beta in (0.2, 0.6):
        assert (f"abc@reward.beta={beta}", f"uniform@reward.beta={beta}") in declared(config)


def test_in_a_sweep_of_lambda_the_point_decides():
    arms = TWO[:-1] + ", {name: rlhf-low, reward: {mode: rlhf}, settings: {kl.coef: 0.2}}]"
    config = compare(arms, "sweep={ppo.gae_lambda: [0.95, 1.0]}")
    assert declared(config) == [
        ("abc@ppo.gae_lambda=0.95", "rlhf@ppo.gae_lambda=0.95"),
        ("abc@ppo.gae_lambda=1.0", "rlhf@ppo.gae_lambda=1.0"),
    ]


@pytest.mark.parametrize(
    ("contrasts", "said"),
    [
        ("{arm: abc, baseline: abc}", "baseline must be another arm, received 'abc' for both"),
        ("{arm: abc, baseline: rlhf, margin: 0.2, margin_of: [abc, abc]}", "margin_of must name"),
        ("{arm: abc, baseline: rlhf}, {arm: abc, baseline: rlhf, margin: 1}", "declared once"),
        ("{arm: abc, baseline: rlhf}, {arm: rlhf, baseline: abc}", "rlhf - abc again"),
    ],
)
def test_a_contrast_is_of_two_arms_and_declared_once(contrasts, said):
    assert said in refusal(TWO, f"contrasts=[{contrasts}]")


def test_one_contrast_has_one_margin_at_all_points():
    stated = "contrasts=[{arm: rlhf-lambda1, baseline: rlhf, margin: 0.2, margin_of: [abc, rlhf]}]"
    said = refusal(THREE, stated, "sweep={reward.beta: [0.2, 0.6]}")
    assert "margin_of must name arms that the sweep leaves alone" in said
    assert len(compare(THREE, stated, "sweep={kl.coef: [0.2, 0.6]}").declared_contrasts) == 2
