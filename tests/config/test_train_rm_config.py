"""What a reward model's configuration takes, and which settings would do nothing under another."""

import pytest

from abcrl.config import (
    InputError,
    RewardModelSettings,
    TrainRmConfig,
    TruncationConfig,
    load_config,
    to_yaml,
)

PAIRS = ["objective=bradley-terry", "data.source=pairs.jsonl"]
TEXTS = ["objective=classifier", "data.source=texts.jsonl"]


def load(*assignments: str) -> TrainRmConfig:
    return load_config(TrainRmConfig, assignments=["run.output=x", "model=hub/sft", *assignments])


def refuse(*assignments: str) -> str:
    with pytest.raises(InputError) as caught:
        load(*assignments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "assignments",
    [
        TEXTS,
        [*TEXTS, "data.labels=[bad, good]", "truncation.share=0.2", "head.init_std=0.02"],
        PAIRS,
        [*PAIRS, "pairs.margin=0.5", "pairs.center_coef=0.01", "head.format=v-head"],
        [*PAIRS, "data.columns.margin=rating", "head.offset=chosen", "head.offset_samples=64"],
        [*PAIRS, "head.offset=sft", "response.cap_high=40", "prompt.max_tokens=9"],
        [*TEXTS, "head.offset=sft", "response.cap_high=40"],
        [*TEXTS, "template=chat"],
        [*PAIRS, "template='Q: {prompt} A: {response} END'"],
        [*PAIRS, "truncation={share: 0.4, min_tokens: 24, max_tokens: 40}"],
        [*PAIRS, "truncation=null"],
        ["objective=bradley-terry"],
    ],
)
def test_a_saved_configuration_says_the_same_again(assignments, tmp_path):
    config = load(*assignments)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert load_config(TrainRmConfig, file=tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["pairs.margin=0.5"], "pairs.margin must be left out with objective classifier"),
        (["pairs.center_coef=0.1"], "pairs.center_coef must be left out with objective classifier"),
        ([*TEXTS, "data.columns.margin=m"], "data.columns.margin must be left out with objective"),
        (
            [*TEXTS, "truncation=null"],
            "truncation must be given with objective classifier, which is judged on cut texts too, "
            "received null; remove it, or set truncation.share to 0 to train on none",
        ),
        ([*PAIRS, "data.labels=[a, b]"], "data.labels must be left out with objective bradley"),
        ([*PAIRS, "data.columns.label=l"], "data.columns.label must be left out with objective"),
        (["head.offset_samples=9"], "head.offset_samples must be left out with head.offset none"),
        (["prompt.max_tokens=9"], "prompt.max_tokens must be left out unless head.offset is sft"),
        (
            ["head.offset=chosen", "response.temperature=0.7"],
            "response.temperature must be left out unless head.offset is sft (chosen here), "
            "received 0.7; remove it",
        ),
        (
            [*PAIRS, "data.columns.margin=m", "pairs.margin=1"],
            "pairs.margin must be left out with data.columns.margin (m), which gives each pair its "
            "own, received 1.0; remove one of them",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused(assignments, said):
    assert said in refuse(*assignments)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("pairs.margin=-0.1", "pairs.margin: "),
        ("pairs.center_coef=-1", "pairs.center_coef: "),
        ("head.init_std=0", "head.init_std: "),
        ("head.offset_samples=0", "head.offset_samples: "),
        ("head.offset=mean", "head.offset: "),
        ("head.format=bin", "head.format: "),
        ("objective=dpo", "objective: "),
        ("template='{prompt}'", "template: must be chat, or hold {response} once"),
        ("template='{answer}{response}'", "template: must have no other places than"),
    ],
)
def test_values_out_of_range_are_refused(assignment, said):
    assert refuse(assignment).startswith(said)


def test_texts_are_cut_unless_told_otherwise_and_pairs_are_not():
    assert load(*TEXTS).truncation == load().truncation == TruncationConfig()
    assert load(*TEXTS, "truncation.share=0").truncation == TruncationConfig(share=0.0)
    assert RewardModelSettings().truncation == TruncationConfig()
    assert load(*PAIRS).truncation is None
    assert "truncation: null" in to_yaml(load(*PAIRS)).splitlines()
    assert load(*PAIRS, "truncation.max_tokens=40").truncation == TruncationConfig(max_tokens=40)
