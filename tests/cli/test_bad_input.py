"""Bad input: exit code 2, one line that says what and what to do, nothing left behind."""

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

FEW = ["--set", "data.limit=100"]
PPO = ["ppo", "--policy", "a/b", "--reward-model", "c/d", "--output", "run", *FEW]
SFT = ["sft", "--output", "run"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [*SFT, "--set", "data.sedd=1"],
            "data.sedd: unknown key, received 1; did you mean data.seed?",
        ),
        (
            [*PPO, "--beta", "1.5"],
            "reward.beta: must be less than or equal to 1, received 1.5; Share of the score that "
            "is spread; the rest stays on the last token. null: mode's default.",
        ),
        (
            [*PPO, "--reward", "rlhf", "--beta", "0.8"],
            "reward: beta must be left out with mode rlhf (the whole score stays on the last "
            "token), received 0.8; remove it or choose another mode",
        ),
        (
            [*PPO, "--reward", "abc-3"],
            "reward.mode: must be 'abc', 'rlhf', 'uniform', 'abc-d', 'abc-d2', 'shuffled', "
            "'swapped', 'position', 'random' or 'red', received 'abc-3'; abc | rlhf | uniform | "
            "abc-d | abc-d2; controls of abc: shuffled | swapped | position | random; red: "
            "differences of the scores of prefixes.",
        ),
        (
            [*SFT, "--config", "absent.yaml"],
            "absent.yaml: the configuration file must exist; check the path given to --config",
        ),
        (
            [*SFT, "--dataset", "reviews of films"],
            "data.source: must be toy, a file (.jsonl, .jsonl.gz, .csv, .csv.gz, .txt, "
            ".txt.gz, .parquet, .arrow) or a "
            "Hub id, received 'reviews of films'; choose one with --dataset",
        ),
        (
            ["compare", "--modes", "abc,abcd"],
            "--modes: must name arms (abc, rlhf, rlhf-lambda1, uniform-0.8, abc-d, abc-d2) or "
            "reward modes (abc, rlhf, uniform, abc-d, abc-d2, shuffled, swapped, position, random, "
            "red), received 'abcd'",
        ),
        (
            ["compare", "--seeds", "9-0"],
            "--seeds: must read like 0-9 or 0,3,5, received '9-0'; give a range or a list",
        ),
        (
            ["compare", "--seeds", "0-99999999999"],
            "--seeds: must be at most 1000 seeds, received '0-99999999999'; give fewer",
        ),
        (
            ["sft"],
            "run.output: must be given; Folder of the run (--output); it must not exist yet.",
        ),
        (
            ["train-rm", "--output", "run"],
            "model: must be given; SFT model to start from (--model): a local folder or a Hub id.",
        ),
        (
            [*SFT, "--model", "smal"],
            "model.base: must be a size (tiny, small), a config.json, a model folder or a Hub id, "
            "received 'smal'; did you mean small?",
        ),
    ],
)
def test_a_refusal_is_one_line(refuse, arguments, line):
    assert refuse(*arguments) == line


@pytest.mark.parametrize("command", ["sft", "train-rm", "ppo", "compare"])
def test_an_unknown_key_is_refused_by_every_command(abcrl, command):
    answer = abcrl(command, "--set", "nosuch.key=1")
    assert answer.code == 2
    assert "nosuch: unknown key" in answer.errors


def test_several_problems_are_several_lines(abcrl):
    answer = abcrl(*PPO, "--beta", "2", "--steps", "0", "--set", "run.sed=1")
    assert answer.code == 2
    lines = answer.errors.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("abcrl: ") for line in lines)


def test_broken_yaml_is_refused_with_file_and_line(refuse):
    line = refuse(*SFT, "--config", "c.yaml", files={"c.yaml": "data:\n  limit: 5\n  limit: 6\n"})
    assert line.startswith("c.yaml:3: must be valid YAML 1.2: found duplicate key")


def test_a_missing_model_folder_is_refused(refuse, tmp_path):
    absent = tmp_path / "absent"
    for arguments, key in [
        ([*SFT, "--model", absent], "model.base"),
        (["train-rm", "--output", "run", "--model", absent], "model"),
        ([*PPO, "--policy", absent], "policy"),
    ]:
        line = refuse(*arguments)
        assert line.startswith(f"{key}: must be a model folder with a config.json or a Hub id, ")
        assert f"received {absent}" in line


def test_a_run_folder_given_for_its_model_is_refused_with_a_hint(refuse, tiny_runs):
    line = refuse(*PPO, "--policy", tiny_runs.root / "sft")
    assert line.startswith("policy: must be a model folder")
    assert line.endswith("a run keeps its model in <output>/final")


def test_policy_and_reward_model_cannot_stand_for_each_other(refuse, tiny_runs):
    policy, reward_model = tiny_runs.policy, tiny_runs.reward_model
    line = refuse(*PPO, "--policy", reward_model, "--reward-model", reward_model)
    assert line.startswith("policy: must be a language model")
    line = refuse(*PPO, "--policy", policy, "--reward-model", policy)
    assert line.startswith("reward_model: must be a reward model, ")


def test_a_reward_model_of_three_labels_is_refused(refuse, tiny_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    config = AutoConfig.from_pretrained(tiny_runs.reward_model, num_labels=3)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_runs.policy).save_pretrained(folder)
    line = refuse(*PPO, "--policy", tiny_runs.policy, "--reward-model", folder)
    assert line.startswith("reward_model: must be ")
    assert "a sequence classifier with one or two labels" in line
    assert "with 3 labels" in line


@pytest.mark.parametrize("command", [SFT, ["train-rm", "--output", "run", "--model", "a/b"], PPO])
def test_an_existing_folder_is_refused_and_left_alone(refuse, command):
    Path("run").mkdir()
    Path("run/mine.txt").write_text("mine")
    line = refuse(*command)
    assert line.startswith("run.output: the folder must not exist yet, received ")
    assert Path("run/mine.txt").read_text() == "mine"


def test_a_comparison_does_not_take_over_what_is_not_its_own(refuse):
    Path("work/sft").mkdir(parents=True)
    Path("work/sft/mine.txt").write_text("mine")
    line = refuse("compare", "--output", "work")
    assert "sft is there and is no run; move it away or choose another --output" in line
    assert Path("work/sft/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("output", ["file", "file/inside"])
def test_a_comparison_needs_a_folder(refuse, output):
    line = refuse("compare", "--output", output, files={"file": "mine"})
    assert line.startswith("output: the folder must be writable, received ")


def test_a_device_that_is_not_there_is_refused(refuse):
    line = refuse(*SFT, "--set", "run.device=cuda:77")
    assert "device: must be there, received cuda:77" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb", r"a\x1b[31mb"), ("a\rb", r"a\rb"), ("a\u202eb", r"a\u202eb")],
)
def test_control_characters_do_not_reach_the_terminal(refuse, text, shown):
    assert shown in refuse(*SFT, "--dataset", text)
    assert shown in refuse(*SFT, "--config", text)


def test_markup_in_a_message_is_no_markup(refuse):
    assert "'[red]x[/red]'" in refuse(*SFT, "--dataset", "[red]x[/red]")
