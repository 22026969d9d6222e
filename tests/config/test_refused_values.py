"""What the groups refuse, and how it is said: one line with key, rule, received."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from abcrl.config import (
    CompareConfig,
    InputError,
    PpoConfig,
    SftConfig,
    TrainRmConfig,
    load_config,
)
from abcrl.config.base import Group

VALID: dict[type[Group], list[str]] = {
    SftConfig: ["run.output=x"],
    TrainRmConfig: ["run.output=x", "model=hub/sft"],
    PpoConfig: ["run.output=x", "policy=hub/sft", "reward_model=hub/rm"],
    CompareConfig: [],
}


def refuse(root: type[Group], *assignments: str) -> list[str]:
    """Returns the lines of the refusal."""
    with pytest.raises(InputError) as caught:
        load_config(root, assignments=[*VALID[root], *assignments])
    return str(caught.value).splitlines()


def inner_groups(annotation: object) -> Iterator[type[Group]]:
    if isinstance(annotation, type) and issubclass(annotation, Group):
        yield annotation
    elif not str(annotation).startswith("list"):
        for argument in get_args(annotation):
            yield from inner_groups(argument)


def keys(group: type[Group], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a root model, sections included."""
    for name, field in group.model_fields.items():
        yield prefix + name
        for inner in inner_groups(field.annotation):
            yield from keys(inner, f"{prefix}{name}.")


EVERY_KEY = [(root, key) for root in VALID for key in keys(root)]


def test_the_keys_reach_every_depth():
    assert len(EVERY_KEY) > 100
    assert (CompareConfig, "sft.training.learning_rate") in EVERY_KEY
    assert (CompareConfig, "ppo.reward.beta") in EVERY_KEY


@pytest.mark.parametrize("root", VALID)
def test_an_unknown_key_names_the_nearest_valid_one_at_every_depth(root):
    for key in (key for owner, key in EVERY_KEY if owner is root):
        [line] = refuse(root, f"{key}q=1")
        assert line == f"{key}q: unknown key, received 1; did you mean {key}?"


def test_an_unknown_key_in_a_list_element_names_its_place():
    lines = refuse(
        CompareConfig,
        "arms=[{name: a, reward: {mode: abc}}, {name: b, reward: {mod: abc}, gae_lamda: 1.0}]",
        "contrasts=[{arm: a, base_line: b, baseline: b}]",
    )
    assert lines == [
        "arms.1.reward.mod: unknown key, received 'abc'; did you mean arms.1.reward.mode?",
        "arms.1.gae_lamda: unknown key, received 1.0; did you mean arms.1.gae_lambda?",
        "contrasts.0.base_line: unknown key, received 'b'; did you mean contrasts.0.baseline?",
    ]


def test_a_key_like_no_other_lists_the_valid_ones():
    [line] = refuse(SftConfig, "run.zzz=1")
    assert line.endswith("valid here: run.device, run.output, run.seed, run.threads")


def test_a_key_that_is_no_word_is_refused():
    [line] = refuse(SftConfig, "data={5: 6}")
    assert line.startswith("data.5: ")


@pytest.mark.parametrize(
    ("assignment", "key", "rule", "received"),
    [
        ("data.limit=true", "data.limit", "integer", "True"),
        ("data.limit='5'", "data.limit", "integer", "'5'"),
        ("data.limit=5.0", "data.limit", "integer", "5.0"),
        ("training.epochs='5'", "training.epochs", "number", "'5'"),
        ("training.epochs=true", "training.epochs", "number", "True"),
        ("training.epochs=null", "training.epochs", "number", "None"),
        ("training.epochs=.nan", "training.epochs", "finite", "nan"),
        ("training.epochs=.inf", "training.epochs", "finite", "inf"),
        ("data.source=5", "data.source", "string", "5"),
        ("run.output=2024-10-10", "run.output", "string", "datetime.date(2024, 10, 10)"),
        ("data=5", "data", "section", "5"),
        ("training.schedule=step", "training.schedule", "'cosine'", "'step'"),
    ],
)
def test_nothing_is_converted_to_another_type(assignment, key, rule, received):
    [line] = refuse(SftConfig, assignment)
    assert line.startswith(f"{key}: must ")
    assert rule in line
    assert f", received {received}; " in line


def test_an_integer_is_a_number():
    config = load_config(SftConfig, assignments=["run.output=x", "training.epochs=2"])
    assert config.training.epochs == 2.0


@pytest.mark.parametrize(
    ("root", "assignment", "said"),
    [
        (PpoConfig, "reward.beta=1.5", "reward.beta: must be less than or equal to 1"),
        (PpoConfig, "reward.beta=-0.1", "reward.beta: must be greater than or equal to 0"),
        (PpoConfig, "ppo.gamma=0.0", "ppo.gamma: must be greater than 0"),
        (PpoConfig, "ppo.gae_lambda=1.1", "ppo.gae_lambda: must be less than or equal to 1"),
        (PpoConfig, "ppo.batch_size=1", "ppo.batch_size: must be greater than or equal to 2"),
        (PpoConfig, "steps=0", "steps: must be greater than or equal to 1"),
        (PpoConfig, "response.temperature=0.0", "response.temperature: must be greater than 0"),
        (PpoConfig, "reward.mode=abcd", "reward.mode: must be 'abc', 'rlhf'"),
        (PpoConfig, "run.device=tpu", "run.device: must match"),
        (PpoConfig, "run.output=''", "run.output: must have at least 1 character"),
        (SftConfig, "data.limit=1", "data.limit: must be greater than or equal to 2"),
        (SftConfig, "data.validation_fraction=1.0", "data.validation_fraction: must be less than"),
        (TrainRmConfig, "truncation.share=1.2", "truncation.share: must be less than or equal"),
        (CompareConfig, "seeds=[]", "seeds: must have at least 1 item"),
        (CompareConfig, "seeds=[0, -1]", "seeds.1: must be greater than or equal to 0"),
        (CompareConfig, "grid.jobs=0", "grid.jobs: must be greater than or equal to 1"),
        (CompareConfig, "arms=[{name: a/b, reward: {}}]", "arms.0.name: must match"),
        (CompareConfig, "arms=[{name: .., reward: {}}]", "arms.0.name: must match"),
    ],
)
def test_a_value_out_of_range_is_refused_by_rule_and_value(root, assignment, said):
    [line] = refuse(root, assignment)
    assert line.startswith(said)
    assert ", received " in line


@pytest.mark.parametrize(
    ("root", "assignments", "line"),
    [
        (
            PpoConfig,
            ["reward={mode: rlhf, beta: 0.5}"],
            "reward: beta must be left out with mode rlhf (the whole score stays on the last "
            "token), received 0.5; remove it or choose another mode",
        ),
        (
            PpoConfig,
            ["ppo.mini_batch_size=3"],
            "ppo: mini_batch_size must divide batch_size (16), received 3",
        ),
        (
            PpoConfig,
            ["response={cap_low: 9, cap_high: 8}"],
            "response: cap_high must be at least cap_low (9), received 8",
        ),
        (
            PpoConfig,
            ["response={min_new_tokens: 10, cap_low: 9, cap_high: 12}"],
            "response: cap_low must be at least min_new_tokens (10), received 9",
        ),
        (
            PpoConfig,
            ["prompt={min_tokens: 4, max_tokens: 3}"],
            "prompt: max_tokens must be at least min_tokens (4), received 3",
        ),
        (
            TrainRmConfig,
            ["truncation={min_tokens: 4, max_tokens: 3}"],
            "truncation: max_tokens must be at least min_tokens (4), received 3",
        ),
        (
            PpoConfig,
            ["ppo.gamma=0.9"],
            "ppo.gamma must be 1 with reward mode abc (spreading would change the return), "
            "received 0.9; set reward.allow_discounting to do it",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(root, assignments, line):
    assert refuse(root, *assignments) == [line]


@pytest.mark.parametrize(
    "reward",
    [
        "{mode: rlhf}",
        "{mode: abc, allow_discounting: true}",
        "{mode: abc, beta: 0.0}",  # spreads nothing
    ],
)
def test_discounting_is_accepted_where_nothing_is_spread_or_it_is_asked_for(reward):
    assignments = [*VALID[PpoConfig], "ppo.gamma=0.9", f"reward={reward}"]
    assert load_config(PpoConfig, assignments=assignments).ppo.gamma == 0.9


@pytest.mark.parametrize("mode", ["abc", "uniform", "abc-d", "abc-d2"])
def test_every_dense_mode_needs_gamma_one(mode):
    [line] = refuse(PpoConfig, f"reward.mode={mode}", "ppo.gamma=0.99")
    assert f"ppo.gamma must be 1 with reward mode {mode} " in line


def test_several_problems_are_several_lines_in_one_go():
    lines = refuse(
        PpoConfig, "reward.beta=1.5", "prompt.max_tokens=1", "data.sedd=3", "run.seed=x", "steps=-1"
    )
    assert sorted(line.partition(":")[0] for line in lines) == [
        "data.sedd",
        "prompt",
        "reward.beta",
        "run.seed",
        "steps",
    ]


def test_what_must_be_given_is_named_with_its_meaning():
    with pytest.raises(InputError) as caught:
        load_config(PpoConfig)
    lines = str(caught.value).splitlines()
    assert [line.partition(": must be given; ")[0] for line in lines] == [
        "policy",
        "reward_model",
        "run.output",
    ]
    assert lines[0].endswith("SFT model to start from (--policy): a local folder or a Hub id.")


def test_a_long_received_value_is_cut():
    [line] = refuse(SftConfig, "data.limit=" + "x" * 500)
    assert len(line) < 250


def test_the_hint_is_the_documentation_of_the_field():
    [line] = refuse(PpoConfig, "reward.beta=1.5")
    described: Any = PpoConfig.model_fields["reward"].annotation
    assert line.endswith(described.model_fields["beta"].description)
