"""What a run is not gone on with, and what is said; nothing is changed then."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from abcrl.config import InputError
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_status
from tests.stages.comparisons import Listening
from tests.stages.resuming import assert_same_end, go_on
from tests.stages.stopped_runs import Stopping, content, refused


def change_environment(folder: Path, **changes: object) -> None:
    file = folder / "environment.json"
    stored = json.loads(file.read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            stored[section][key] = value
        else:
            stored[section] = value
    file.write_text(json.dumps(stored))


def test_a_moved_run_goes_on_where_it_is_now(configure, stopped, finished):
    assert go_on(configure(stopped)) == ["resumed from step 3"]
    assert_same_end(stopped, finished)
    # YAML puts a long path on a line of its own.
    assert f"output: {stopped}" in " ".join((stopped / "config.yaml").read_text().split())


def test_a_finished_run_has_nothing_to_do(configure, finished):
    before = content(finished)
    reporter = Listening()
    result = run_ppo(configure(finished), reporter, resume=True)
    assert reporter.messages == [f"nothing to do: the run in {finished} is finished"]
    assert content(finished) == before
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert result.before["eval/score"] == rows[0]["eval/score"]
    assert result.after["eval/score"] == rows[-1]["eval/score"]
    assert all(name.startswith("eval/") for name in {**result.before, **result.after})


def test_a_run_is_gone_on_with_on_request_only(configure, stopped):
    before = content(stopped)
    with pytest.raises(InputError) as caught:
        run_ppo(configure(stopped), Listening())
    assert str(caught.value) == (
        f"run.output: the folder must not exist yet, received {stopped}; go on with --resume, or "
        f"choose another name with --output or remove it"
    )
    assert content(stopped) == before


def test_without_a_run_it_starts_at_step_0_and_says_so(configure, tmp_path, finished):
    assert go_on(configure(tmp_path / "run")) == [f"no run in {tmp_path / 'run'}: starts at step 0"]
    assert_same_end(tmp_path / "run", finished)


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", "status.json"]])
def test_a_run_that_had_hardly_begun_starts_at_step_0(configure, tmp_path, finished, left):
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        shutil.copy(finished / name, run / name)
    if "status.json" in left:
        (run / "status.json").write_text('{"state": "running"}')
    assert go_on(configure(run)) == [f"no checkpoint in {run}: starts at step 0"]
    assert_same_end(run, finished)


@pytest.mark.parametrize("which", ["finished", "stopped"])
def test_other_settings_are_refused_by_key(configure, finished, stopped, which):
    folder = {"finished": finished, "stopped": stopped}[which]
    said = refused(configure(folder, steps=6, ppo__learning_rate=2e-3))
    assert said == (
        f"run.output: must hold a run with these settings, received {folder}, which ran with "
        f"others (ppo.learning_rate: 0.001 there, 0.002 now; steps: 5 there, 6 now); resume it "
        f"with those, or choose another --output"
    )


def test_how_often_checkpoints_are_written_may_change(configure, stopped, finished):
    changed = configure(stopped, checkpoint__interval=5, checkpoint__keep_last=1)
    assert go_on(changed) == ["resumed from step 3"]
    assert_same_end(stopped, finished)
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["step-000005"]


def test_a_checkpoint_of_another_run_is_refused_by_key(configure, stopped, tmp_path):
    other = tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        run_ppo(configure(other, run__seed=1), Stopping(3))
    shutil.rmtree(stopped / "checkpoints")
    shutil.copytree(other / "checkpoints", stopped / "checkpoints")
    assert "which holds checkpoints, none usable (" in refused(configure(stopped))
    for name in ("metrics.jsonl", "samples.jsonl"):
        shutil.copy(other / name, stopped / name)
    assert "others (run.seed: 1 there, 0 now)" in refused(configure(stopped))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions__torch": "2.1.0"}, "torch: 2.1.0 there, 2."),
        ({"device": "NVIDIA H100"}, "device: NVIDIA H100 there, cpu ("),
        ({"processor": "Cray-1"}, "processor: Cray-1 there, "),
        ({"code": "0123"}, "code: 0123 there, "),
        ({"versions__peft": "0.1"}, "peft: 0.1 there, "),
        ({"versions__safetensors": "0.1"}, "safetensors: 0.1 there, "),
    ],
)
def test_another_environment_is_refused_unless_it_may_be_inexact(configure, stopped, changes, said):
    change_environment(stopped, **changes)
    line = refused(configure(stopped))
    assert line.startswith(f"run.output: the run in {stopped} must go on where it ran to end in ")
    assert said in line
    assert line.endswith("or let the last digits differ with --allow-inexact")
    assert go_on(configure(stopped), if_inexact="go on") == ["resumed from step 3"]
    environment = json.loads((stopped / "environment.json").read_text())
    [resumed] = environment["resumed"]
    assert resumed["step"] == 3
    for name, value in changes.items():
        section, _, key = name.partition("__")
        before, now = environment[section], resumed[section]
        assert (before[key] if key else before) == value
        assert (now[key] if key else now) != value


def test_another_commit_of_the_same_code_is_the_same(configure, stopped, finished):
    change_environment(stopped, git_commit="0123")
    assert go_on(configure(stopped)) == ["resumed from step 3"]
    assert_same_end(stopped, finished)


@pytest.mark.parametrize("text", ["[]", "{", '{"fingerprints": 1}', '{"resumed": "no"}'])
@pytest.mark.parametrize("option", ["refuse", "go on"])
def test_an_environment_that_says_nothing_is_named(configure, stopped, text, option):
    (stopped / "environment.json").write_text(text)
    assert refused(configure(stopped), if_inexact=option) == (
        f"run.output: environment.json must say on what the run began, received "
        f"{stopped / 'environment.json'}, which is damaged; restore it, or choose another --output"
    )


def test_another_environment_may_also_start_again(configure, stopped, finished):
    change_environment(stopped, device="NVIDIA H100")
    [said] = go_on(configure(stopped), if_inexact="start again")
    assert said.endswith("; go back to that, or let the last digits differ with --allow-inexact: "
                         "starts at step 0")  # fmt: skip
    assert_same_end(stopped, finished)
    assert "resumed" not in json.loads((stopped / "environment.json").read_text())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("texts", "data.source"),
        ("policy", "policy"),
        ("policy_tokenizer", "policy"),
        ("reward_model", "reward_model"),
        ("reward_model_tokenizer", "reward_model"),
    ],
)
def test_other_texts_or_models_are_refused_always(configure, stopped, name, key):
    change_environment(stopped, **{f"fingerprints__{name}": "0123"})
    for option in ("refuse", "go on"):
        said = refused(configure(stopped), if_inexact=option)
        assert said.startswith(
            f"{key}: must be what the run in {stopped} began with (fingerprint 0123), received "
        )


def test_a_model_that_was_trained_again_is_seen(configure, tiny_runs, tmp_path):
    policy = tmp_path / "policy"
    shutil.copytree(tiny_runs.policy, policy)
    config = configure(tmp_path / "run", policy=str(policy))
    with pytest.raises(KeyboardInterrupt):
        run_ppo(config, Stopping(1))
    weights = load_file(policy / "model.safetensors")
    name = min(weights)
    weights[name] = weights[name] * (1 + torch.finfo(torch.float32).eps)
    save_file(weights, policy / "model.safetensors", {"format": "pt"})
    assert refused(config).startswith("policy: must be what the run in")


@pytest.mark.parametrize("name", ["policy", "reward_model"])
def test_a_tokenizer_that_reads_otherwise_is_seen(configure, tiny_runs, tmp_path, name):
    copy = Path(shutil.copytree(getattr(tiny_runs, name), tmp_path / name))
    config = configure(tmp_path / "run", **{name: str(copy)})
    with pytest.raises(KeyboardInterrupt):
        run_ppo(config, Stopping(1))
    rules = json.loads((copy / "tokenizer.json").read_text())
    rules["pre_tokenizer"]["add_prefix_space"] = True
    (copy / "tokenizer.json").write_text(json.dumps(rules))
    for option in ("refuse", "go on"):
        said = refused(config, if_inexact=option)
        assert said.startswith(f"{name}: must be what the run in")


@pytest.mark.parametrize("name", ["final", "metrics.jsonl"])
def test_a_finished_run_without_its_results_is_refused(configure, finished, tmp_path, name):
    folder = Path(shutil.copytree(finished, tmp_path / "copy"))
    (folder / name).rename(tmp_path / "elsewhere")
    assert refused(configure(folder)) == (
        f"run.output: a finished run must have its {name}, received {folder} without it; restore "
        f"it, or choose another --output"
    )


def test_a_second_writer_is_refused(configure, stopped):
    with FileLock(stopped / ".lock").acquire(timeout=0), pytest.raises(InputError) as caught:
        go_on(configure(stopped))
    assert str(caught.value) == (
        f"run.output: {stopped} is being written by another process; wait for it or choose "
        f"another folder with --output"
    )
    assert read_status(stopped) == "interrupted"


def test_the_lock_is_held_from_before_the_models_are_loaded(configure, stopped, monkeypatch):
    def load(config, reporter):
        with pytest.raises(InputError, match="is being written by another process"):
            go_on(config)
        raise InputError("stop here")

    monkeypatch.setattr("abcrl.stages.ppo.load_inputs", load)
    assert refused(configure(stopped)) == "stop here"
    with FileLock(stopped / ".lock").acquire(timeout=0):
        pass


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_run_is_left_alone(configure, tmp_path, kind):
    mine = tmp_path / "mine"
    if kind == "folder":
        mine.mkdir()
        (mine / "notes.txt").write_text("mine")
    else:
        mine.write_text("mine")
    assert refused(configure(mine)) == (
        f"run.output: must hold a run to go on with --resume, received {mine}, which holds "
        f"something else; choose another --output"
    )
