from pathlib import Path

import pytest

from abcrl.config import (
    CompareConfig,
    InputError,
    PpoConfig,
    SftConfig,
    TrainRmConfig,
    differing_settings,
    load_config,
    to_yaml,
)
from abcrl.config.relocation import follow_move, named_paths, relocate


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


PPO = ["run.output=out", "policy=./sft/final", "reward_model=./rm", "data.source=texts.jsonl"]


def test_everything_that_a_run_reads_and_writes_is_named(tmp_path):
    ppo = load_config(PpoConfig, assignments=[*PPO, "data.validation=held-out.csv.gz"])
    names = ["out", "sft/final", "rm", "texts.jsonl", "held-out.csv.gz"]
    assert set(named_paths(ppo)) == {tmp_path / name for name in names}
    sft = ["run.output=out", "model={base: ./shape.json, tokenizer: ./tokenizer}"]
    names = ["out", "shape.json", "tokenizer"]
    assert set(named_paths(load_config(SftConfig, assignments=sft))) == {
        tmp_path / name for name in names
    }
    rm = load_config(TrainRmConfig, assignments=["run.output=out", "model=./sft"])
    assert set(named_paths(rm)) == {tmp_path / "out", tmp_path / "sft"}


def test_hub_ids_and_built_in_names_are_no_paths(tmp_path):
    given = ["run.output=out", "policy=gpt2", "reward_model=a/b", "data.source=stanfordnlp/imdb"]
    ppo = load_config(PpoConfig, assignments=[*given, "data.validation=test"])
    assert named_paths(ppo) == [tmp_path / "out"]
    assert named_paths(load_config(SftConfig, assignments=["run.output=out"])) == [tmp_path / "out"]


def test_only_the_given_paths_change_and_nothing_else_does(tmp_path):
    ppo = load_config(PpoConfig, assignments=[*PPO, "steps=7"])
    places = {tmp_path / "out": Path("/n/out"), tmp_path / "texts.jsonl": Path("/n/texts.jsonl")}
    there = relocate(ppo, places)
    lines = differing_settings(to_yaml(ppo), to_yaml(there), free=())
    assert [line.partition(":")[0] for line in lines] == ["data.source", "run.output"]
    assert (there.run.output, there.data.source) == ("/n/out", "/n/texts.jsonl")
    assert relocate(there, {new: old for old, new in places.items()}) == ppo


def test_a_relocated_configuration_is_a_valid_one(tmp_path):
    there = relocate(load_config(PpoConfig, assignments=PPO), {tmp_path / "rm": Path("/n/rm")})
    Path("there.yaml").write_text(to_yaml(there))
    assert load_config(PpoConfig, file=Path("there.yaml")) == there


@pytest.mark.parametrize(
    ("root", "models"),
    [
        (SftConfig, ["model.base=./base"]),
        (TrainRmConfig, ["model=./base"]),
        (PpoConfig, ["policy=./a", "reward_model=./b"]),
    ],
)
def test_every_absolute_path_of_a_stage_is_a_named_one(root, models):
    """One that is not would not reach another machine."""
    given = ["run.output=o", "data.source=t.jsonl", "data.validation=v.jsonl", *models]
    config = load_config(root, assignments=given)
    absolute = {word for word in to_yaml(config).split() if word.startswith("/")}
    assert absolute == {str(path) for path in named_paths(config)}


def test_a_refusal_is_one_line_of_the_grid(tmp_path):
    cases = {
        "grid.engine=slurm": "grid.engine: must be 'local' or 'ray'",
        "grid.address=head:6379": "grid: address must be left out with engine local",
        "grid={engine: ray, address: ray://head:10001}": "grid: address must be HOST:PORT",
    }
    for assignment, refusal in cases.items():
        with pytest.raises(InputError) as caught:
            load_config(CompareConfig, assignments=[assignment])
        assert str(caught.value).startswith(refusal), caught.value
    with pytest.raises(InputError, match=r"machine.device must be auto, cpu, cuda or mps with"):
        load_config(CompareConfig, assignments=["grid.engine=ray", "machine.device=cuda:1"])


def test_a_run_follows_the_folder_that_holds_it(tmp_path):
    def run(root: str, policy: str) -> PpoConfig:
        given = [f"run.output={tmp_path}/{root}/cells/abc/seed-0", f"policy={tmp_path}/{policy}"]
        return load_config(PpoConfig, assignments=[*given, "reward_model=a/b"])

    def follow(recorded: PpoConfig, planned: PpoConfig) -> PpoConfig:
        return follow_move(recorded, Path(recorded.run.output), planned, Path(planned.run.output))

    planned = run("new", "new/sft/final")
    assert follow(run("old", "old/sft/final"), planned) == planned
    assert follow(planned, planned) == planned
    # A model elsewhere, or one that is to be another, stays what was recorded.
    assert follow(run("old", "sft/final"), planned).policy == str(tmp_path / "sft/final")
    other = follow(run("old", "old/other/final"), planned)
    assert other.policy == str(tmp_path / "old/other/final")
