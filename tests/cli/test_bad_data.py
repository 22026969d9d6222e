"""Bad data: one line with field or file:line, exit code 2, before any model, nothing left behind.

The models named here do not exist: a command that asked for one first would say so instead.
"""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

OUT = ["--output", "run"]
SFT = ["sft", "--model", "tiny", *OUT]
TRAIN_RM = ["train-rm", "--model", "no/model", *OUT]
PPO = ["ppo", "--policy", "no/policy", "--reward-model", "no/reward-model", *OUT]
COMPARE = ["compare", *OUT]
COMMANDS = {"sft": SFT, "train-rm": TRAIN_RM, "ppo": PPO, "compare": COMPARE}


def lines(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


GOOD = lines([{"text": f"text {number}", "label": number % 2} for number in range(200)])

BAD = {
    "an empty file": ("f.jsonl", b"", "data.source: must hold at least two texts"),
    "an empty CSV file": ("f.csv", b"", "data.source: must hold at least two texts"),
    "no rows but a header": ("f.csv", b"text,label\n", "data.source: must hold at least two texts"),
    "blank texts": ("f.jsonl", lines([{"text": " ", "label": 0}] * 9), "data.source: must hold"),
    "no such column": (
        "f.jsonl",
        lines([{"body": "a", "label": 0}]),
        "data.columns: {file} must have the columns of",
    ),
    "a truncated .gz": ("f.jsonl.gz", gzip.compress(GOOD)[:400], "{file}: must be a whole gzip"),
    "a broken JSON line": ("f.jsonl", GOOD + b'{"text": \n', "{file}:201: must be a JSON object"),
    "a text that is none": ("f.jsonl", GOOD + lines([{"text": 5}]), "{file}:201: {must have}"),
    "invalid UTF-8": ("f.jsonl", GOOD + b'{"text": "\xff"}\n', "{file}:201: must be UTF-8"),
    "a damaged Arrow file": ("f.arrow", b"ARROW1", "{file}: must be a whole Arrow stream or"),
    "a damaged Parquet file": ("f.parquet", b"PAR1", "{file}: must be a whole Parquet file"),
}


def as_named_by(command: str, message: str, stage: str = "sft") -> str:
    """In a comparison a key has its stage's name before it; the first to read is sft."""
    return f"{stage}.{message}" if command == "compare" and message[:5] == "data." else message


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_in_one_line(refuse, tmp_path, case, command):
    name, content, expected = BAD[case]
    Path(name).write_bytes(content)
    line = refuse(*COMMANDS[command], "--dataset", name)
    if command == "train-rm":
        expected = expected.replace("{must have}", "must have the field 'label'")
    expected = expected.replace("{must have}", "text must be a string, received 5")
    expected = expected.replace("{file}", f"{tmp_path}/{name}")
    assert line.startswith(as_named_by(command, expected))


@pytest.mark.parametrize("command", ["sft", "ppo", "compare"])
def test_a_line_of_plain_text_is_named(refuse, tmp_path, command):
    Path("f.txt").write_bytes(b"a\n\xe9\n")
    line = refuse(*COMMANDS[command], "--dataset", "f.txt")
    assert line.startswith(f"{tmp_path}/f.txt:2: must be UTF-8, received the byte 0xe9;")


@pytest.mark.parametrize("command", ["sft", "ppo", "compare"])
def test_a_missing_held_out_file_is_refused(refuse, tmp_path, command):
    Path("f.jsonl").write_bytes(GOOD)
    given = ["--dataset", "f.jsonl", "--set" if command == "ppo" else "--validation"]
    given.append("data.validation=absent.csv" if command == "ppo" else "absent.csv")
    line = refuse(*COMMANDS[command], *given)
    expected = f"data.validation: the file must exist, received {tmp_path}/absent.csv; check"
    assert line.startswith(as_named_by(command, expected))


def test_bad_rows_are_passed_over_where_that_is_asked_for(refuse, abcrl):
    Path("f.jsonl").write_bytes(GOOD + b'{"text": 5}\n{"text": \n')
    line = refuse(*TRAIN_RM, "--dataset", "f.jsonl")
    assert line.endswith("with --set data.rows.bad=drop (1 row more: line 202)")
    answer = abcrl(*TRAIN_RM, "--dataset", "f.jsonl", "--set", "data.rows.bad=drop")
    *told, line = answer.errors.splitlines()
    assert told == [
        "data: 1 row left out: must have the field 'label' (f.jsonl:201)",
        "data: 1 row left out: must be a JSON object on one line (f.jsonl:202)",
    ]
    assert line.startswith("abcrl: model: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file_is_refused(refuse, tmp_path, command):
    line = refuse(*COMMANDS[command], "--dataset", "absent/reviews.jsonl.gz")
    expected = f"data.source: the file must exist, received {tmp_path}/absent/reviews"
    assert line.startswith(as_named_by(command, expected))
    if command != "compare":
        assert refuse(*COMMANDS[command], "--dataset", "absent.csv", "--dry-run")


@pytest.mark.parametrize("command", ["train-rm", "compare"])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1] * 200, "data.source: the training texts must be of both classes, received"),
        ([0, 1, 2] * 70, "{file}:3: label must be 0 or 1, received 2;"),
        ([None] * 200, "{file}:1: label must be 0 or 1, received None;"),
    ],
)
def test_labels_that_no_classifier_can_learn_are_refused(
    refuse, tmp_path, command, labels, expected
):
    rows = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    Path("f.jsonl").write_bytes(lines(rows))
    line = refuse(*COMMANDS[command], "--dataset", "f.jsonl")
    expected = expected.replace("{file}", f"{tmp_path}/f.jsonl")
    assert line.startswith(as_named_by(command, expected, "train_rm"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_column_that_is_not_there_is_refused_by_its_flag(refuse, command):
    Path("f.jsonl").write_bytes(GOOD)
    line = refuse(*COMMANDS[command], "--dataset", "f.jsonl", "--text-column", "review")
    assert line.startswith(as_named_by(command, "data.columns.text: must name a column of "))
    assert line.endswith("there are text, label; choose one with --text-column")


def test_texts_too_short_for_a_prompt_are_refused_before_anything_is_trained(refuse):
    Path("f.jsonl").write_bytes(GOOD)
    line = refuse(*COMPARE, "--dataset", "f.jsonl", "--set", "ppo.prompt.min_characters=500")
    assert line.startswith(
        "ppo.prompt.min_characters: some text must be longer than 500 characters"
    )


def test_too_few_held_out_texts_are_refused_before_anything_is_trained(refuse):
    Path("f.jsonl").write_bytes(GOOD)
    settings = ["ppo.data.limit=6", "ppo.prompt.min_characters=0"]
    assigned = [part for setting in settings for part in ("--set", setting)]
    line = refuse(*COMPARE, "--dataset", "f.jsonl", *assigned)
    assert "data.validation_fraction: must leave at least" in line


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["sft.model.architecture=lama"], "sft: model.architecture: must be"),
        (["sft.model.options={foo: 1}"], "sft: model.options"),
        (["sft.training.max_length=500"], "sft: training.max_length must fit"),
    ],
)
def test_a_comparison_refuses_a_model_that_cannot_be_built(abcrl, assignments, expected):
    assigned = [part for setting in assignments for part in ("--set", setting)]
    answer = abcrl(*COMPARE, *assigned)
    assert answer.code == 2
    # What comes before says that SFT begins: it is SFT's own process that looks at the model.
    assert answer.errors.splitlines()[-1].startswith(f"abcrl: {expected}")
    assert not Path("run").exists()


def test_a_comparison_refuses_a_reward_model_of_the_wrong_kind_before_sft(refuse, tiny_runs):
    given = ["--set", "train_rm=null", "--set", f"reward_model={tiny_runs.policy}"]
    line = refuse(*COMPARE, *given)
    assert line.startswith("reward_model: must be a model for SequenceClassification, received ")
    assert "which is a GPT2LMHeadModel" in line
    given = ["--set", "sft=null", "--set", f"policy={tiny_runs.reward_model}"]
    assert refuse(*COMPARE, *given).startswith("policy: must be a model for CausalLM")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["sft", "--dataset", "nobody/nothing", *OUT], "data.source"),
        (["compare", "--dataset", "nobody/nothing", *OUT], "sft.data.source"),
        (["compare", "--set", "sft.model={base: nobody/nothing}", *OUT], "sft.model.base"),
        pytest.param(
            ["sft", "--model", "nobody/nothing", "--set", "data.limit=50", *OUT],
            "model.base",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["train-rm", "--model", "nobody/nothing", "--set", "data.limit=400", *OUT],
            "model",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_hub_id_without_network_is_refused_soon(tmp_path, arguments, key):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    environment = {**os.environ, **nowhere}
    environment.pop("HF_HUB_OFFLINE", None)
    started = time.monotonic()
    answer = subprocess.run(
        [Path(sys.executable).with_name("abcrl"), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 2, answer.stderr
    [line] = answer.stderr.splitlines()
    assert line.startswith(f"abcrl: {key}: must be ")
    assert "received" in line
    assert "nobody/nothing" in line
    assert not (tmp_path / "run").exists()
    assert time.monotonic() - started < 100  # the libraries alone would try for minutes
