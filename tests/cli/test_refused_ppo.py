"""Settings and models that PPO cannot be done with: one line, exit code 2, and no folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from abcrl.config import RewardMode, to_yaml

NAMED = ["ppo", "--policy", "a/b", "--reward-model", "c/d", "--output", "run"]
DENSE = [mode.value for mode in RewardMode if mode.default_beta is not None]

RefuseRun = Callable[..., str]


@pytest.mark.parametrize("mode", DENSE)
def test_a_discount_with_a_mode_that_spreads_is_refused(refuse, mode):
    line = refuse(*NAMED, "--reward", mode, "--set", "ppo.gamma=0.99")
    assert line == (
        f"ppo.gamma must be 1 with reward mode {mode} (spreading would change the return), "
        f"received 0.99; set reward.allow_discounting to do it"
    )


@pytest.mark.parametrize(
    "arguments",
    [["--reward", "abc", "--set", "reward.allow_discounting=true"], ["--reward", "rlhf"]],
)
def test_a_discount_is_accepted_where_it_is_asked_for_or_nothing_is_spread(abcrl, arguments):
    answer = abcrl(*NAMED, *arguments, "--set", "ppo.gamma=0.99", "--dry-run")
    assert (answer.code, answer.errors) == (0, "")
    assert "  gamma: 0.99\n" in answer.output


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_k", 50),
        ("top_p", 0.9),
        ("min_p", 0.1),
        ("typical_p", 0.9),
        ("repetition_penalty", 1.2),
        ("no_repeat_ngram_size", 3),
    ],
)
def test_what_would_change_sampling_alone_is_refused_with_the_reason(refuse, key, value):
    line = refuse(*NAMED, "--set", f"response.{key}={value}")
    assert line == (
        f"response: {key} must be left out (PPO needs the log-probabilities of the distribution "
        f"that it samples from), received {value}; remove it, or set temperature, which is in both"
    )
    assert refuse("compare", "--set", f"ppo.response.{key}={value}") == f"ppo.{line}"


@pytest.mark.parametrize(
    ("assignments", "line"),
    [
        (
            ["ppo.batch_size=10", "ppo.mini_batch_size=4"],
            "ppo: mini_batch_size must divide batch_size (10), received 4",
        ),
        (
            ["ppo.mini_batch_size=4", "ppo.micro_batch_size=3"],
            "ppo: micro_batch_size must divide mini_batch_size (4), received 3",
        ),
        (
            ["response.cap_low=7"],
            "response: cap_low must be at least min_new_tokens (8), received 7",
        ),
        (
            ["response.cap_high=7"],
            "response: cap_high must be at least cap_low (8), received 7",
        ),
        (
            ["response.min_new_tokens=9"],
            "response: cap_low must be at least min_new_tokens (9), received 8",
        ),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(refuse, assignments, line):
    assert refuse(*NAMED, *(f"--set={each}" for each in assignments)) == line


@pytest.fixture
def refuse_run(refuse, tiny_runs, tmp_path_factory) -> RefuseRun:
    """refuse_run(mode, **changes): the line on a tiny run that would do but for the changes."""

    def refuse_run(mode: str = "abc", **changes: object) -> str:
        file = tmp_path_factory.mktemp("refused") / "c.yaml"
        file.write_text(to_yaml(tiny_runs.ppo(Path("run").absolute(), mode, **changes)))
        line = refuse("ppo", "--config", file)
        assert not Path("run").exists()
        return str(line)

    return refuse_run


@pytest.fixture
def copy_of(tmp_path_factory) -> Callable[[Path], Path]:
    """copy_of(model): a copy that may be spoiled."""
    return lambda model: Path(shutil.copytree(model, tmp_path_factory.mktemp("copy") / "model"))


def test_a_policy_whose_tokenizer_has_no_eos_is_refused(refuse_run, tiny_runs, copy_of):
    policy = copy_of(tiny_runs.policy)
    file = policy / "tokenizer_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "eos_token": None}))
    (policy / "special_tokens_map.json").unlink(missing_ok=True)
    assert refuse_run(policy=str(policy)) == (
        f"policy: the tokenizer must have an EOS token (it ends a response), received {policy} "
        f"without one; name it as eos_token in its tokenizer_config.json"
    )


def test_an_eos_that_the_policy_cannot_choose_is_refused(refuse_run, tiny_runs, copy_of):
    policy = copy_of(tiny_runs.policy)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    tokenizer.save_pretrained(policy)
    assert refuse_run(policy=str(policy)) == (
        f"policy: the model must have an embedding of its tokenizer's EOS token, received {policy} "
        f"with 400 embeddings and EOS 400; save it after "
        f"model.resize_token_embeddings(len(tokenizer))"
    )


def test_a_context_too_short_for_prompt_and_response_is_refused(refuse_run):
    # The tiny policy reads 96 tokens, and a prompt has up to 7.
    line = refuse_run(response__cap_low=90, response__cap_high=90)
    assert line == (
        "response.cap_high: prompt and response must fit the context of policy, 96 tokens, "
        "received 97 in all; lower response.cap_high"
    )


def test_a_reward_model_with_a_shorter_context_is_refused(refuse_run, tiny_runs, copy_of):
    reward_model = copy_of(tiny_runs.reward_model)
    config = AutoConfig.from_pretrained(reward_model, n_positions=21)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(reward_model)
    line = refuse_run(reward_model=str(reward_model))
    assert line == (
        "response.cap_high: prompt and response must fit the context of reward_model, 21 tokens, "
        "received 22 in all; lower response.cap_high"
    )


@pytest.mark.parametrize(
    ("mode", "changes", "said"),
    [
        ("abc", {"reward__layer": 2}, "reward.layer: must "),
        ("abc-d", {"reward__layer": -3}, "reward.layer: must "),
        ("abc", {"reward__heads": [2]}, "reward.heads: must "),
        ("red", {"score__template": "{prompt}: {response}"}, "reward.mode: must not be red with"),
    ],
)
def test_evidence_that_the_networks_lack_is_refused(refuse_run, mode, changes, said):
    assert refuse_run(mode, **changes).startswith(said)


def test_an_architecture_that_shows_no_attention_is_refused_by_name(refuse_run, make_tiny_runs):
    runs = make_tiny_runs("openai-gpt")
    models = {"policy": str(runs.policy), "reward_model": str(runs.reward_model)}
    for mode in ("abc", "abc-d", "shuffled"):
        assert "'openai-gpt'" in refuse_run(mode, **models)


def test_there_must_be_a_run_to_go_on_with(refuse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "config.yaml").write_text("training:\n  epochs: 1\nmodel:\n  name: tiny\n")

    assert refuse("ppo", "--resume", "--output", "typo") == (
        "output: must hold a run to go on with, received typo, where there is none; correct it, or "
        "say with --config or flags what to run"
    )
    assert refuse("ppo", "--resume", "--output", "sft") == (
        "output: must hold a PPO run, received sft, which holds something else; choose another "
        "--output"
    )
    assert refuse(*NAMED, "--allow-inexact") == (
        "--allow-inexact: must come with --resume, received without; add --resume"
    )
