"""What `abcrl eval` takes from a run folder, and which folders it refuses."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from abcrl.config import EvalConfig, InputError, PpoConfig, load_config
from abcrl.storage import read_fingerprints
from abcrl.tools.evaluated_runs import differences, find_run, settings_of
from tests.conftest import TinyRuns


@pytest.fixture
def run(tiny_ppo_runs: Mapping[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(tiny_ppo_runs["abc"], tmp_path / "run")


def config_of(policy: Path, *, against: Path | None = None, **changes: object) -> EvalConfig:
    defaults, named = settings_of(str(policy), None if against is None else str(against))
    flags = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(EvalConfig, flags={**named, **flags}, defaults=defaults)


def test_a_run_says_everything(run: Path, tiny_runs: TinyRuns):
    config = config_of(run)
    ppo = tiny_runs.ppo(run)
    assert config.policy == str(run / "final")
    assert config.against == config.reference == str(tiny_runs.policy)
    assert config.reward_model == str(tiny_runs.reward_model)
    assert config.prompts == ppo.evaluation.prompts == 4
    for group in ("data", "prompt", "response"):
        assert getattr(config, group) == getattr(ppo, group)
    assert config.seed == 0


def test_the_policy_of_a_run_stands_for_the_run(run: Path):
    assert config_of(run / "final") == config_of(run)
    found = find_run(str(run / "final"), "policy")
    assert found is not None
    assert found.path == run


def test_a_model_is_no_run(tiny_runs: TinyRuns, run: Path):
    assert find_run("gpt2", "policy") is None
    assert find_run(str(tiny_runs.policy), "policy") is None  # an SFT run's
    model = shutil.copytree(run / "final", run.parent / "model")
    assert find_run(str(model), "policy") is None
    assert settings_of("gpt2", None) == ({}, {"policy": "gpt2"})


def test_another_source_has_columns_of_its_own(run: Path):
    defaults, _ = settings_of(str(run), None, other_source=True)
    saved = load_config(PpoConfig, file=run / "config.yaml").data
    assert defaults["data"] == {
        "template": None,
        "rows": saved.rows.model_dump(),
        "limit": 300,
        "validation_fraction": 0.05,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"state": "failed", "reason": "step 2: scores"},
            r"which has failed \(step 2: scores\); look at its metrics.jsonl",
        ),
        ({"state": "running"}, "which is still running or was killed; wait for it, or go on with"),
        ({"state": "interrupted"}, "which was interrupted; .* abcrl ppo --resume --output .*/run"),
        (None, "which has no final/; wait"),
    ],
)
@pytest.mark.parametrize("key", ["policy", "against"])
def test_an_unfinished_run_is_refused_with_its_state(run: Path, key, status, said):
    shutil.rmtree(run / "final")
    (run / ".lock").unlink()
    if status is None:
        (run / "status.json").unlink()
    else:
        (run / "status.json").write_text(json.dumps(status), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{key}: must be a run that has finished, .*{said}"):
        find_run(str(run), key)
    assert not (run / ".lock").exists()  # nobody asked for it


def test_other_folders_are_refused(tiny_runs: TinyRuns, tmp_path: Path):
    for folder in (tiny_runs.root / "sft", tiny_runs.root / "reward-model", tmp_path):
        with pytest.raises(InputError, match="policy: must be the folder of a PPO run or of a"):
            find_run(str(folder), "policy")


def test_a_configuration_that_is_none_names_its_file(run: Path):
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(f"{text}stepps: 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"run/config\.yaml: stepps: unknown key"):
        find_run(str(run), "policy")


def test_a_run_does_not_differ_from_its_own_evaluation(run: Path, tiny_ppo_runs):
    config = config_of(run, against=tiny_ppo_runs["rlhf"], prompts=3, samples=9, seed=4)
    config = config.replace(response=config.response.replace(cache="static"))  # speed alone
    prints = read_fingerprints(run)
    assert differences(config.policy, config, prints) == []
    assert config.against is not None
    assert differences(config.against, config, prints) == []
    assert differences("gpt2", config, prints) == []


def test_what_a_run_was_trained_with_and_is_not_judged_with_is_named(run: Path, tiny_runs):
    config = config_of(
        run, response__temperature=0.5, data__limit=200, reward_model="c/d", reference="e/f"
    )
    assert differences(config.policy, config, {"texts": "other", "reward_model": "other"}) == [
        "data.limit: 300 there, 200 now",
        f"reference: {tiny_runs.policy} there, e/f now",
        "response.temperature: 1.0 there, 0.5 now",
        f"reward_model: {tiny_runs.reward_model} there, c/d now",
    ]


def test_content_that_has_changed_is_named(run: Path):
    prints = {**read_fingerprints(run), "texts": "other", "reward_model": "other"}
    assert differences(str(run), config_of(run), prints) == [
        "data.source: its content has changed since",
        "reward_model: its content has changed since",
    ]
