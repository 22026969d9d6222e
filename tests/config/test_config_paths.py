from pathlib import Path

import pytest

from abcrl.config import (
    CompareConfig,
    InputError,
    PpoConfig,
    SftConfig,
    TrainRmConfig,
    load_config,
    to_yaml,
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def ppo(*assignments: str) -> PpoConfig:
    given = ["run.output=out", "policy=a/b", "reward_model=c", *assignments]
    return load_config(PpoConfig, assignments=given)


def test_the_output_becomes_absolute(tmp_path):
    assert ppo().run.output == str(tmp_path / "out")
    # YAML puts a long path on a line of its own.
    assert f"output: {tmp_path / 'out'}" in " ".join(to_yaml(ppo()).split())
    assert load_config(CompareConfig).output == str(tmp_path / "runs" / "compare")


def test_the_home_folder_is_resolved(tmp_path):
    assert ppo("run.output=~/out").run.output == str(tmp_path / "home" / "out")
    assert ppo("policy=~/model").policy == str(tmp_path / "home" / "model")


def test_a_hub_id_stays_what_it_is():
    config = ppo("policy=openai-community/gpt2", "reward_model=gpt2")
    assert (config.policy, config.reward_model) == ("openai-community/gpt2", "gpt2")


def test_a_folder_that_exists_or_looks_like_a_path_becomes_absolute(tmp_path):
    (tmp_path / "mine" / "final").mkdir(parents=True)
    config = ppo("policy=mine/final", "reward_model=./absent")
    assert config.policy == str(tmp_path / "mine" / "final")
    assert config.reward_model == str(tmp_path / "absent")
    config = ppo("policy=../up", f"reward_model={tmp_path}")
    assert Path(config.policy).is_absolute()
    assert config.reward_model == str(tmp_path)
    rm = load_config(TrainRmConfig, assignments=["run.output=x", "model=mine/final"])
    assert rm.model == str(tmp_path / "mine" / "final")


def test_a_size_is_a_size_even_beside_a_folder_of_that_name(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "large").mkdir()
    config = load_config(SftConfig, assignments=["run.output=x", "model.base=tiny"])
    assert config.model.base == "tiny"
    config = load_config(SftConfig, assignments=["run.output=x", "model.base=large"])
    assert config.model.base == str(tmp_path / "large")


def test_an_absolute_configuration_means_the_same_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    first = ppo("policy=model")
    (tmp_path / "saved.yaml").write_text(to_yaml(first))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config(PpoConfig, file=tmp_path / "saved.yaml") == first


@pytest.mark.parametrize("path", ["~no-such-user-here/x", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(InputError) as caught:
        ppo(f"run.output={path}")
    assert str(caught.value).startswith("run.output: ")
    assert "\n" not in str(caught.value)


def test_a_model_name_too_long_for_a_path_is_no_path():
    assert ppo("policy=" + "x" * 5000).policy == "x" * 5000
