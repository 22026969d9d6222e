"""Supervised training: its networks, evaluations and checkpoints, and what is refused."""

from typing import Any

import pytest

from abcrl.config import (
    InputError,
    SftConfig,
    TrainRmConfig,
    differing_settings,
    load_config,
    to_yaml,
)

TRAINED = ["run.output=x", "model={base: hub/sft}"]


def load(*assignments: str) -> SftConfig:
    return load_config(SftConfig, assignments=[*TRAINED, *assignments])


@pytest.mark.parametrize(
    ("assignments", "line"),
    [
        (
            ["training.micro_batch_size=5"],
            "training: micro_batch_size must divide batch_size (32), received 5",
        ),
        (
            ["evaluation.early_stopping=2"],
            "evaluation: early_stopping must come with interval, received 2 without; set interval",
        ),
        (
            ["networks.quantization=nf4"],
            "networks: quantization must be left out without adapters, received nf4; remove it, or "
            "set networks.lora",
        ),
        (
            ["networks.keep_adapter=true"],
            "networks: keep_adapter must be left out without adapters, received True; remove it, "
            "or set networks.lora",
        ),
        (
            ["model={base: tiny}", "networks.lora={rank: 2}"],
            "networks.lora must be left out with random weights, which adapters leave as they are, "
            "received model.base tiny; remove it, or name a trained model",
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
        ("training.micro_batch_size=0", "training.micro_batch_size: must be greater than or equal"),
        ("evaluation.interval=0", "evaluation.interval: must be greater than or equal to 1"),
        ("evaluation.early_stopping=0", "evaluation.early_stopping: must be greater than or equal"),
        ("networks.precision=fp16", "networks.precision: must be 'float32' or 'bf16', received"),
        ("networks.quantization=int8", "networks.quantization: must be 'none' or 'nf4', received"),
        ("networks.lora.rank=0", "networks.lora.rank: must be greater than or equal to 1"),
        ("checkpoint.interval=0", "checkpoint.interval: must be greater than or equal to 1"),
    ],
)
def test_values_out_of_range_are_refused_by_key(assignment, said):
    with pytest.raises(InputError) as caught:
        load(assignment)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("root", [SftConfig, TrainRmConfig])
def test_a_partly_given_section_keeps_the_defaults_of_supervised_training(root):
    named = [] if root is SftConfig else ["model=hub/sft"]
    config: Any = load_config(root, assignments=["run.output=x", *named, "checkpoint.keep_last=5"])
    assert (config.checkpoint.interval, config.checkpoint.keep_last) == (200, 5)


def test_how_often_a_checkpoint_is_written_is_no_setting_of_the_run():
    first, second = load(), load("checkpoint.interval=7", "checkpoint.keep_last=1")
    assert differing_settings(to_yaml(first), to_yaml(second)) == []
    other = load("evaluation.interval=7")
    assert differing_settings(to_yaml(first), to_yaml(other)) == [
        "evaluation.interval: None there, 7 now"
    ]
