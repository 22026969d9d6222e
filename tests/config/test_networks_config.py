"""Networks, optimizer and the PPO options: what is refused, and how it is said."""

import pytest

from abcrl.config import InputError, PpoConfig, load_config

VALID = ["run.output=x", "policy=hub/sft", "reward_model=hub/rm"]


def load(*assignments: str) -> PpoConfig:
    return load_config(PpoConfig, assignments=[*VALID, *assignments])


@pytest.mark.parametrize(
    ("assignments", "line"),
    [
        (
            ["ppo.mini_batch_size=8", "ppo.micro_batch_size=3"],
            "ppo: micro_batch_size must divide mini_batch_size (8), received 3",
        ),
        (
            ["ppo.micro_batch_size=2"],
            "ppo: micro_batch_size must divide mini_batch_size (1), received 2",
        ),
        (
            ["steps=10", "optimizer.warmup_steps=10"],
            "optimizer.warmup_steps must be below steps (10), received 10",
        ),
        (
            ["score={scale: sft, center_samples: 1}"],
            "score: center_samples must be at least 2 with scale sft, received 1",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(assignments, line):
    with pytest.raises(InputError) as caught:
        load(*assignments)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("networks.precision=fp16", "networks.precision: must be 'float32' or 'bf16', received"),
        ("networks.value_model=none", "networks.value_model: must be 'shared' or 'separate'"),
        ("networks.value_init=sft", "networks.value_init: must be 'reward_model' or 'policy'"),
        ("networks.lora.rank=0", "networks.lora.rank: must be greater than or equal to 1"),
        ("networks.lora.alpha=0.0", "networks.lora.alpha: must be greater than 0"),
        (
            "networks.lora.target_modules=[]",
            "networks.lora.target_modules: must have at least 1 item",
        ),
        ("optimizer.schedule=step", "optimizer.schedule: must be 'constant', 'linear' or"),
        ("optimizer.warmup_steps=-1", "optimizer.warmup_steps: must be greater than or equal"),
        ("ppo.micro_batch_size=0", "ppo.micro_batch_size: must be greater than or equal to 1"),
        ("kl.loss=k3", "kl.loss: must be 'none', 'k2' or 'exact', received 'k3'"),
        ("kl.loss_coef=0.0", "kl.loss_coef: must be greater than 0"),
        ("kl.target_kl=0.0", "kl.target_kl: must be greater than 0"),
        ("score.scale=batch", "score.scale: must be 'none', 'sft' or 'running'"),
        ("score.clip=0.0", "score.clip: must be greater than 0"),
        ("reward.missing_eos_penalty=-1.0", "reward.missing_eos_penalty: must be greater than"),
    ],
)
def test_a_value_out_of_range_is_refused_by_rule_and_value(assignment, said):
    with pytest.raises(InputError) as caught:
        load(assignment)
    [line] = str(caught.value).splitlines()
    assert line.startswith(said)
    assert ", received " in line


def test_adapters_are_set_key_by_key_and_come_back_from_yaml():
    config = load("networks.lora.rank=8", "networks.lora.target_modules=[q_proj, v_proj]")
    assert config.networks.lora is not None
    assert config.networks.lora.rank == 8
    assert config.networks.lora.target_modules == ["q_proj", "v_proj"]
    assert load("networks.lora={}").networks.lora is not None
    assert load().networks.lora is None


def test_everything_new_is_off_as_in_the_paper():
    config = load()
    assert config.networks.value_model == "shared"
    assert config.networks.precision == "float32"
    assert config.ppo.micro_batch_size is None
    assert config.optimizer.schedule == "constant"
    assert config.optimizer.warmup_steps == 0
    assert config.kl.loss == "none"
    assert config.kl.target_kl is None
    assert config.score.scale == "none"
    assert config.score.clip is None
    assert config.reward.missing_eos_penalty == 0
