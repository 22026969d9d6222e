"""What a run of sft or train-rm is not gone on with, and what is said; nothing is changed then."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from abcrl.config import InputError
from abcrl.storage import read_environment
from tests.stages.comparisons import Listening
from tests.stages.stopped_runs import Stopping, content
from tests.stages.supervised_resuming import (
    RESUMED,
    Config,
    assert_same_end,
    configure,
    go_on,
    run,
)

NAMES = ["sft", "train-rm"]


@pytest.fixture(scope="module")
def finished(tiny_runs, tmp_path_factory) -> Callable[[str], Path]:
    """finished(name): a run that nothing interrupted."""
    folders: dict[str, Path] = {}

    def finish(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("finished") / "run"
            run(configure(tiny_runs, name, folders[name]))
        return folders[name]

    return finish


@pytest.fixture
def stopped(tiny_runs, tmp_path) -> Callable[..., Config]:
    """stopped(name): a run with checkpoints of steps 5 and 8."""

    def stop(name: str) -> Config:
        config = configure(tiny_runs, name, tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            run(config, Stopping(8))
        return config

    return stop


def refused(config: Config, **options: object) -> str:
    before = content(Path(config.run.output))
    with pytest.raises(InputError) as caught:
        go_on(config, **options)
    assert content(Path(config.run.output)) == before
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_other_settings_are_refused_by_key(tiny_runs, stopped, name):
    folder = Path(stopped(name).run.output)
    other = configure(tiny_runs, name, folder, training__learning_rate=0.5)
    assert refused(other) == (
        f"run.output: must hold a run with these settings, received {folder}, which ran with "
        f"others (training.learning_rate: 0.003 there, 0.5 now); resume it with those, or choose "
        f"another --output"
    )
    with pytest.raises(InputError, match="go on with --resume, or choose another name"):
        run(other)


@pytest.mark.parametrize("name", NAMES)
def test_other_texts_or_another_model_are_refused(stopped, name):
    config = stopped(name)
    file = Path(config.run.output) / "environment.json"
    stored = json.loads(file.read_text())
    keys = {"texts": "data.source", "model": "model.base" if name == "sft" else "model"}
    for kind, key in keys.items():
        other = {**stored, "fingerprints": {**stored["fingerprints"], kind: "0123"}}
        file.write_text(json.dumps(other))
        for option in ("refuse", "go on"):
            assert refused(config, if_inexact=option).startswith(f"{key}: must be what the run in ")
    file.write_text(json.dumps({**stored, "device": "NVIDIA H100"}))
    assert refused(config).endswith("or let the last digits differ with --allow-inexact")
    assert go_on(config, if_inexact="go on") == ["resumed from step 8"]


def test_a_model_that_was_trained_again_is_seen(tiny_runs, tmp_path):
    base = Path(shutil.copytree(tiny_runs.policy, tmp_path / "base"))
    config = tiny_runs.sft(tmp_path / "run", model={"base": str(base)}, **RESUMED)
    with pytest.raises(KeyboardInterrupt):
        run(config, Stopping(2))
    weights = load_file(base / "model.safetensors")
    name = min(weights)
    weights[name] = weights[name] * (1 + torch.finfo(torch.float32).eps)
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    assert refused(config).startswith("model.base: must be what the run in")


@pytest.mark.parametrize(
    ("name", "key"), [("sft", "model.base"), ("sft", "model.tokenizer"), ("train-rm", "model")]
)
def test_a_tokenizer_that_reads_otherwise_is_seen(tiny_runs, tmp_path, name, key):
    base = Path(shutil.copytree(tiny_runs.policy, tmp_path / "base"))
    models: dict[str, Any] = {
        "model": str(base),
        "model.base": {"base": str(base)},
        "model.tokenizer": {"base": "tiny", "context_length": 96, "tokenizer": str(base)},
    }
    make = tiny_runs.sft if name == "sft" else tiny_runs.train_rm
    config = make(tmp_path / "run", **RESUMED, model=models[key])
    with pytest.raises(KeyboardInterrupt):
        run(config, Stopping(2))
    rules = json.loads((base / "tokenizer.json").read_text())
    rules["pre_tokenizer"]["add_prefix_space"] = True
    (base / "tokenizer.json").write_text(json.dumps(rules))
    assert refused(config).startswith(f"{key}: must be what the run in")
    assert refused(config, if_inexact="go on").startswith(f"{key}: must be what the run in")


@pytest.mark.parametrize(("change", "kind"), [("text", "texts"), ("label", "labels")])
def test_of_rows_in_two_files_both_keys_are_named(tiny_runs, tmp_path, change, kind):
    rows: list[dict[str, Any]] = [
        {"text": f"The plot of number {n} was good.", "label": n % 2} for n in range(60)
    ]
    files = {"data.source": rows[:40], "data.validation": rows[40:]}
    for name, part in files.items():
        write_lines(tmp_path / f"{name}.jsonl", part)
    sources = {name: str(tmp_path / f"{name}.jsonl") for name in files}
    config = tiny_runs.train_rm(tmp_path / "run", **sources)
    with pytest.raises(KeyboardInterrupt):
        run(config, Stopping(2))
    changed = {"text": "The plot was bad.", "label": 1 - rows[-1]["label"]}
    rows[-1] = {**rows[-1], change: changed[change]}
    write_lines(tmp_path / "data.validation.jsonl", rows[40:])
    said = refused(config)
    assert said.startswith("data.source or data.validation: must be what the run in")
    before = read_environment(tmp_path / "run")["fingerprints"][kind]
    assert f"began with (fingerprint {before})" in said


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.pt", "rng_state.pth", "checkpoint.json"]
)
def test_of_a_damaged_checkpoint_the_one_before_is_taken_aloud(stopped, finished, file):
    config = stopped("sft")
    damaged = Path(config.run.output) / "checkpoints" / "step-000008" / file
    whole = bytearray(damaged.read_bytes())
    whole[len(whole) // 2] ^= 1
    damaged.write_bytes(whole)
    assert go_on(config) == [
        f"checkpoint step-000008 cannot be used: {file} is damaged",
        "resumed from step 5",
    ]
    assert_same_end(Path(config.run.output), finished("sft"))


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_says_what_it_said(tiny_runs, finished, name):
    folder = finished(name)
    config = configure(tiny_runs, name, folder)
    before, reporter = content(folder), Listening()
    result = run(config, reporter, resume=True)
    assert reporter.messages == [f"nothing to do: the run in {folder} is finished"]
    assert content(folder) == before
    assert (result.final, result.steps) == (folder / "final", 15)


def test_the_quality_of_a_finished_reward_model_is_read_back(tiny_runs, tmp_path):
    config = configure(tiny_runs, "train-rm", tmp_path / "run")
    result = run(config)
    assert run(config, resume=True) == result
    assert result.quality.credit is not None
