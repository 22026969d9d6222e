from importlib.resources import files

import pytest
from pydantic import ValidationError

from abcrl.config import (
    ArmConfig,
    CompareConfig,
    ContrastConfig,
    InputError,
    PpoSettings,
    RewardConfig,
    RewardMode,
    load_config,
    parse_seeds,
    read_yaml,
    validate,
)

ARMS = (
    "arms=[{name: sparse, reward: {mode: rlhf}}, {name: dense, reward: {mode: abc, beta: 0.5}},"
    " {name: sparse-1, reward: {mode: rlhf}, gae_lambda: 1.0}]"
)


def compare(*assignments: str) -> CompareConfig:
    return load_config(CompareConfig, assignments=list(assignments))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-9", list(range(10))),
        ("0,3,5", [0, 3, 5]),
        ("0-2,10", [0, 1, 2, 10]),
        ("7", [7]),
        (" 1 , 2 ", [1, 2]),
        ("4-4", [4]),
    ],
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,", ",1", "-1", "1-2-3", "1.5", "0..3", "1 2"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"^--seeds: must read like 0-9 or 0,3,5, received "):
        parse_seeds(text)


def test_a_mode_alone_is_an_arm_of_its_name():
    arm = ArmConfig.of_mode(RewardMode.ABC_D)
    assert arm.name == "abc-d"
    assert arm.reward == RewardConfig(mode=RewardMode.ABC_D)
    assert [arm.name for arm in compare().arms] == ["abc", "rlhf", "uniform", "abc-d", "abc-d2"]


def test_an_arm_changes_the_reward_and_its_own_lambda_only():
    settings = PpoSettings(steps=7, reward=RewardConfig(mode=RewardMode.UNIFORM))
    [sparse, dense, undiscounted] = compare(ARMS).arms
    assert dense.apply(settings) == settings.replace(reward=dense.reward)
    assert sparse.apply(settings).ppo.gae_lambda == settings.ppo.gae_lambda == 0.95
    changed = undiscounted.apply(settings)
    assert changed.ppo == settings.ppo.replace(gae_lambda=1.0)
    assert changed.steps == 7


def test_lambda_zero_is_a_lambda():
    arm = ArmConfig(name="a", reward=RewardConfig(), gae_lambda=0.0)
    assert arm.apply(PpoSettings()).ppo.gae_lambda == 0.0


def test_arms_are_selected_by_name_and_modes_stand_for_their_default_arm():
    selected = compare(ARMS).select_arms(["uniform", "dense", "dense", "rlhf"])
    assert [arm.name for arm in selected.arms] == ["uniform", "dense", "rlhf"]
    assert selected.arms[1].reward.beta == 0.5
    assert selected.arms[0] == ArmConfig.of_mode(RewardMode.UNIFORM)


def test_an_arm_of_the_recipe_hides_the_mode_of_the_same_name():
    config = compare("arms=[{name: abc, reward: {mode: abc, beta: 0.3}}]")
    assert config.select_arms(["abc"]).arms[0].reward.beta == 0.3


def test_an_unknown_arm_is_refused_with_what_there_is():
    with pytest.raises(InputError) as caught:
        compare(ARMS).select_arms(["dense", "dens"])
    assert str(caught.value) == (
        "--modes: must name arms (sparse, dense, sparse-1) or reward modes (abc, rlhf, uniform, "
        "abc-d, abc-d2, shuffled, swapped, position, random, red), received 'dens'"
    )


def test_contrasts_of_arms_left_out_are_left_out():
    config = compare(
        ARMS,
        "contrasts=[{arm: dense, baseline: sparse}, {arm: sparse-1, baseline: sparse}]",
    )
    kept = config.select_arms(["dense", "sparse"]).contrasts
    assert kept == [ContrastConfig(arm="dense", baseline="sparse")]


def test_selected_arms_are_checked_like_given_ones():
    config = compare(
        "arms=[{name: a, reward: {mode: abc, allow_discounting: true}}]",
        "ppo.ppo.gamma=0.9",
        "ppo.reward.allow_discounting=true",
    )
    assert config.select_arms(["a"]) == config
    with pytest.raises(InputError, match="gamma must be 1 with reward mode uniform"):
        config.select_arms(["uniform"])


def test_without_declared_contrasts_dense_arms_are_held_against_sparse_ones():
    assert compare(ARMS).declared_contrasts == [
        ContrastConfig(arm="dense", baseline="sparse"),
        ContrastConfig(arm="sparse-1", baseline="sparse"),
        ContrastConfig(arm="dense", baseline="sparse-1"),
    ]
    assert compare(ARMS).select_arms(["dense"]).declared_contrasts == []


def test_declared_contrasts_are_kept_even_when_there_are_none():
    one = compare(ARMS, "contrasts=[{arm: dense, baseline: sparse-1}]")
    assert one.declared_contrasts == [ContrastConfig(arm="dense", baseline="sparse-1")]
    assert compare(ARMS, "contrasts=[]").declared_contrasts == []


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["arms=[{name: a, reward: {}}, {name: a, reward: {}}]"], "received 'a' twice"),
        (["seeds=[1, 2, 1]"], "seeds must be different, received [1, 2, 1]"),
        ([ARMS, "contrasts=[{arm: dense, baseline: spars}]"], "received 'spars'"),
        (["sft=null"], "exactly one of sft and policy must be given"),
        (["policy=gpt2"], "exactly one of sft and policy must be given"),
        (["train_rm=null"], "exactly one of train_rm and reward_model must be given"),
        ([ARMS, "ppo.ppo.gamma=0.9", "ppo.reward.mode=rlhf"], "gamma must be 1 with reward mode"),
    ],
)
def test_a_comparison_that_contradicts_itself_is_refused_in_one_line(assignments, said):
    with pytest.raises(InputError) as caught:
        compare(*assignments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_exist_already_replace_the_stages():
    config = compare("sft=null", "policy=a/b", "train_rm=null", "reward_model=c/d")
    assert (config.sft, config.train_rm) == (None, None)


def test_the_built_in_experiment_is_a_recipe_like_any_other():
    text = files("abcrl.config").joinpath("toy.yaml").read_text(encoding="utf-8")
    assert "arms" in text
    built_in = files("abcrl.config").joinpath("toy.yaml")
    config = validate(CompareConfig, read_yaml(built_in))  # type: ignore[arg-type]
    assert {arm.reward.mode for arm in config.arms} == {m for m in RewardMode if m.in_paper}
    assert len(config.seeds) >= 6
    # Like for like: every dense arm spreads the same share, and it is in the name where it is not
    # the mode's own.
    assert {arm.reward.effective_beta for arm in config.arms} == {None, 0.8}
    assert any(arm.gae_lambda == 1.0 for arm in config.arms)


@pytest.mark.parametrize("mode", list(RewardMode))
def test_beta_in_force_is_the_given_one_or_the_mode_s_own(mode):
    default = {RewardMode.RLHF: None, RewardMode.UNIFORM: 1.0}.get(mode, 0.8)
    assert RewardConfig(mode=mode).effective_beta == default
    if mode is RewardMode.RLHF:
        with pytest.raises(ValidationError, match="beta must be left out"):
            RewardConfig(mode=mode, beta=0.0)
    else:
        assert RewardConfig(mode=mode, beta=0.0).effective_beta == 0.0


def test_stages_must_hold_out_the_same_texts():
    for key, value in (("seed", 3), ("validation_fraction", 0.5)):
        with pytest.raises(InputError, match=rf"divide texts .* ppo\.data\.{key} {value}"):
            load_config(CompareConfig, assignments=[f"ppo.data.{key}={value}"])
    assert load_config(CompareConfig, assignments=["ppo.data.limit=50"]).ppo.data.limit == 50
    other = load_config(CompareConfig, assignments=["sft.data.source=unlabelled.jsonl"])
    assert other.sft is not None
    assert other.sft.data.source.endswith("/unlabelled.jsonl")


TEMPLATE = "Q: {prompt} A:{response}"


def test_stages_must_write_prompts_alike():
    files = [f"{stage}.data.source=rows.jsonl" for stage in ("sft", "train_rm", "ppo")]
    templates = [f"{stage}.data.template={TEMPLATE!r}" for stage in ("sft", "train_rm", "ppo")]
    config = load_config(CompareConfig, assignments=[*files, *templates])
    assert config.ppo.data.template == TEMPLATE
    for left_out in range(3):
        rest = templates[:left_out] + templates[left_out + 1 :]
        with pytest.raises(
            InputError, match=r"all stages must write prompts .* None.*make them eq"
        ):
            load_config(CompareConfig, assignments=[*files, *rest])


def test_ppo_gives_the_reward_model_what_it_was_trained_on():
    template = f"train_rm.template={TEMPLATE!r}"
    with pytest.raises(InputError, match=r"what it was trained on; received train_rm\.template 'Q"):
        load_config(CompareConfig, assignments=[template])
    both = [template, f"ppo.score.template={TEMPLATE!r}"]
    assert load_config(CompareConfig, assignments=both).ppo.score.template == TEMPLATE


def of_file(tmp_path, text: str, *assignments: str, **data: str | None) -> CompareConfig:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    return load_config(CompareConfig, file=tmp_path / "c.yaml", assignments=assignments, data=data)


def test_one_flag_changes_the_data_of_every_stage(tmp_path):
    text = "ppo: {data: {source: some/texts, split: test, validation: dev, limit: 50}}"
    given: dict[str, str | None] = {"columns.text": "review", "columns.label": None}
    config = of_file(tmp_path, text, source="reviews.csv", **given)
    assert config.sft is not None
    assert config.train_rm is not None
    for data in (config.sft.data, config.train_rm.data, config.ppo.data):
        assert data.source.endswith("/reviews.csv")
        assert (data.columns.text, data.columns.label) == ("review", "label")
        assert (data.split, data.validation) == (None, None)
    assert config.ppo.data.limit == 50
    assert of_file(tmp_path, text, source=None) == of_file(tmp_path, text)


def test_one_stage_may_still_be_said_otherwise(tmp_path):
    assignments = ["sft.data.source=more.jsonl", "ppo.data.split=test"]
    config = of_file(tmp_path, "{}", *assignments, source="hub/texts")
    assert config.sft is not None
    assert config.sft.data.source.endswith("/more.jsonl")
    assert (config.ppo.data.source, config.ppo.data.split) == ("hub/texts", "test")


def test_data_are_changed_only_in_stages_that_run(tmp_path):
    config = of_file(tmp_path, "{sft: null, policy: some/model}", source="reviews.csv")
    assert config.sft is None
    assert config.ppo.data.source.endswith("/reviews.csv")


def test_data_that_are_none_are_refused_for_every_stage(tmp_path):
    with pytest.raises(InputError, match=r"^sft\.data\.source: must be toy, a file"):
        of_file(tmp_path, "{}", source="no such: thing")


def test_what_yaml_shares_is_set_in_one_place_only(tmp_path):
    text = "{sft: {data: &all {seed: 1}}, train_rm: {data: *all}, ppo: {data: *all}}"
    config = of_file(tmp_path, text, "sft.data.limit=200")
    assert config.sft is not None
    assert config.train_rm is not None
    assert [one.data.limit for one in (config.sft, config.train_rm, config.ppo)] == [
        200,
        None,
        None,
    ]
    assert config.ppo.data.seed == 1


@pytest.mark.parametrize(
    ("assignment", "key"),
    [
        ("sft.training.max_length=300", "training.max_length must fit model.context_length"),
        ("train_rm.training.max_length=300", "train_rm.training.max_length must fit sft.model"),
        ("ppo.response.cap_high=300", r"ppo.prompt.max_tokens \+ ppo.response.cap_high must fit"),
    ],
)
def test_what_does_not_fit_the_context_is_refused_before_anything_is_trained(assignment, key):
    with pytest.raises(InputError, match=rf"{key}.*\(256 tokens\), received 30") as refused:
        load_config(CompareConfig, assignments=[assignment])
    assert len(str(refused.value).splitlines()) == 1


def test_arms_whose_declared_contrasts_are_gone_get_the_default_ones():
    config = load_config(
        CompareConfig, assignments=["contrasts=[{arm: abc, baseline: rlhf}]"]
    ).select_arms(["rlhf", "abc-d"])
    assert [(one.arm, one.baseline) for one in config.declared_contrasts] == [("abc-d", "rlhf")]


def test_no_contrasts_on_purpose_stay_none():
    config = load_config(CompareConfig, assignments=["contrasts=[]"])
    assert config.select_arms(["abc", "rlhf"]).declared_contrasts == []
