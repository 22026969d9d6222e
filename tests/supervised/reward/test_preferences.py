"""train-rm on pairs: what it learns from and what it leaves behind."""

import math
import shutil
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from abcrl.analysis.quality.preference_quality import PreferenceQuality
from abcrl.config import TrainRmConfig, to_yaml
from abcrl.data import Pair, load_pairs
from abcrl.models import (
    PromptWriter,
    load_reward_model,
    load_tokenizer,
)
from abcrl.reporter import SilentReporter
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.supervised.reward.rows import spaced
from tests.supervised.reward.pairs import objective, run_on_pairs

Configure = Callable[..., TrainRmConfig]


@pytest.fixture
def configure(tiny_runs, tmp_path) -> Configure:
    """configure(pairs=PAIRS, **changes): a run on pairs, from the SFT model."""
    return partial(run_on_pairs, tiny_runs, tmp_path)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_pairs_that_one_word_tells_apart_are_learnt(
    configure: Configure, tiny_runs, tmp_path, architecture
):
    model = str(tiny_runs.policy)
    if architecture != "gpt2":
        sft = tiny_runs.sft(
            tmp_path / "sft", model__architecture=architecture, training__max_steps=1
        )
        model = str(run_sft(sft, SilentReporter()).final)
    config = configure(model=model, training__max_steps=60, training__warmup_steps=5)
    quality = run_train_rm(config, SilentReporter()).quality
    assert isinstance(quality, PreferenceQuality)
    assert quality.pairs >= 25
    assert quality.accuracy > 0.9
    assert quality.margin_mean > 1
    assert quality.length_accuracy < 0.8
    assert quality.length_p < 0.05
    assert abs(quality.length_pearson or 0) < 0.5


def test_the_last_row_has_the_quality_and_the_run_repeats_to_the_byte(
    configure: Configure, tmp_path
):
    config = configure()
    run_train_rm(config, SilentReporter())
    shutil.move(tmp_path / "run", tmp_path / "first")
    run_train_rm(config, SilentReporter())
    for name in ("metrics.jsonl", "final/model.safetensors", "final/config.json"):
        first, second = (tmp_path / run / name for run in ("first", "run"))
        assert first.read_bytes() == second.read_bytes(), name
    rows = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in rows] == [5, 10, 15]
    assert {"eval/accuracy", "eval/length_accuracy", "eval/length_p", "eval/nll"} < rows[-1].keys()
    # Credit lies on the responses' tokens alone.
    writer = PromptWriter(load_tokenizer(config.model, "model"))
    heldout = load_pairs(config.data).sample_validation(1024)
    lengths = [len(writer.response_ids(heldout[at].chosen)) for at in spaced(8, len(heldout))]
    assert rows[-1]["credit/texts"] == 8
    assert rows[-1]["credit/tokens"] == pytest.approx(sum(lengths) / 8)


def test_final_is_the_model_that_was_measured(configure: Configure, tmp_path):
    config = configure()
    result = run_train_rm(config, SilentReporter())
    assert isinstance(result.quality, PreferenceQuality)
    reward_model, tokenizer = load_reward_model(str(result.final), "reward_model")
    assert reward_model.model.config.num_labels == 1
    again = objective(config, tokenizer).measure(reward_model)
    assert again.metrics() == {
        name: value
        for name, value in result.quality.metrics().items()
        if not name.startswith("credit/")
    }


def test_what_an_end_and_a_cut_do_to_scores_is_measured_on_held_out_pairs(
    configure: Configure, tiny_tokenizer, tmp_path
):
    lengths = {"truncation__min_tokens": 7, "truncation__max_tokens": 7}
    config = configure(truncation__share=0.5, **lengths)
    result = run_train_rm(config, SilentReporter())
    quality = result.quality
    assert isinstance(quality, PreferenceQuality)
    reward_model, tokenizer = load_reward_model(str(result.final), "reward_model")
    writer = PromptWriter(tokenizer)

    def score(pair: Pair, text: str, tokens: int) -> float:
        [prompt] = writer.prompts([pair.prompt] if pair.prompt else [])
        ids = torch.tensor([prompt + writer.response_ids(text)[:tokens]])
        return float(reward_model.score(ids, torch.ones_like(ids).bool()).scores)

    heldout = list(load_pairs(config.data).sample_validation(1024))
    without = [score(p, p.chosen, len(writer.response_ids(p.chosen)) - 1) for p in heldout]
    mean = sum(without) / len(without)
    assert quality.score_chosen_without_eos_mean == pytest.approx(mean, abs=1e-5)
    right = [score(p, p.chosen, 7) > score(p, p.rejected, 7) for p in heldout]
    assert quality.accuracy_truncated == pytest.approx(sum(right) / len(right))
    # Without lengths of PPO's there is nothing to cut to.
    assert objective(configure(), tokenizer).measure(reward_model).accuracy_truncated is None


def test_the_v_head_format_is_the_same_model(configure: Configure, tmp_path):
    config = configure(head__offset="chosen")
    run_train_rm(config, SilentReporter())
    shutil.move(tmp_path / "run", tmp_path / "plain")
    other = config.replace(head=config.head.replace(format="v-head"))
    final = run_train_rm(other, SilentReporter()).final
    ids, mask = torch.arange(5, 25).view(2, 10), torch.ones(2, 10).bool()
    scores = [
        load_reward_model(str(folder), "reward_model")[0].score(ids, mask).scores
        for folder in (tmp_path / "plain" / "final", final)
    ]
    assert_close(*scores, atol=1e-5, rtol=0)
    assert AutoModelForCausalLM.from_pretrained(final).config.architectures == ["GPT2LMHeadModel"]


def test_toy_reviews_give_pairs(tiny_runs, tmp_path):
    roomy = tiny_runs.sft(tmp_path / "sft", model__context_length=160, training__max_steps=1)
    config = tiny_runs.train_rm(
        tmp_path / "run",
        objective="bradley-terry",
        model=str(run_sft(roomy, SilentReporter()).final),
        training__max_length=160,
    )
    quality = run_train_rm(config, SilentReporter()).quality
    assert isinstance(quality, PreferenceQuality)
    assert 0 <= quality.accuracy <= 1
    assert math.isfinite(quality.nll)


def test_the_command_prints_accuracy_beside_length_and_what_it_means(
    configure: Configure, tmp_path
):
    config = configure(
        training__max_steps=60,
        training__warmup_steps=5,
        head__offset="chosen",
        truncation__share=0.5,
        truncation__min_tokens=6,
        truncation__max_tokens=12,
    )
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    [script] = entry_points(group="console_scripts", name="abcrl")
    answer = CliRunner().invoke(script.load(), ["train-rm", "--config", str(tmp_path / "c.yaml")])
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    last = read_rows(tmp_path / "run", "metrics")[-1]
    rule = "longer" if last["eval/length_prefers_longer"] else "shorter"
    p = last["eval/length_p"]
    shown = "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
    assert lines[:3] == [
        f"held-out accuracy on {last['eval/pairs']} pairs: {last['eval/accuracy']:.1%} "
        f"[{last['eval/accuracy_low']:.1%}, {last['eval/accuracy_high']:.1%}]",
        f"  preferring the {rule} response instead: {last['eval/length_accuracy']:.1%}",
        f"  more often right than preferring the {rule} one ({shown})",
    ]
    assert lines[3] == f"  {last['eval/accuracy_truncated']:.1%} on pairs cut to 6-12 tokens"
    assert lines[5] == "calibration of P(chosen before rejected) = sigmoid of that difference:"
    [at] = [number for number, line in enumerate(lines) if line.startswith("ending")]
    complete = f"score {last['eval/score_chosen_mean']:+.2f} on complete chosen responses,"
    assert lines[at] in (f"ending: {complete}", f"ending matters: {complete}")
    assert lines[at + 1] == (
        f"  {last['eval/score_chosen_without_eos_mean']:+.2f} on the same without their EOS"
    )
    moved = last["eval/score_chosen_without_eos_mean"] - last["eval/score_chosen_mean"]
    matters = abs(moved) > last["eval/score_std"] / 2
    assert lines[at].startswith("ending matters") == matters
    assert ("responses that are cut" in lines[at + 2]) == matters
    assert f"  after an offset of {last['eval/score_offset']:+.2f} has been taken off" in lines
    assert (
        f"ABC credit over 8 held-out chosen responses of {last['credit/tokens']:.0f} tokens:"
        in (lines)
    )
    assert lines[-1] == f"model in {tmp_path / 'run' / 'final'}"
    assert max(map(len, lines[:-1])) <= 80
