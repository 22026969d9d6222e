"""What train-rm says of the reward model: stored in metrics.jsonl, printed by the command."""

import math
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase
from typer.testing import CliRunner

from abcrl.analysis.quality.naive_bayes import NaiveBayes, fit_naive_bayes
from abcrl.config import TrainRmConfig, to_yaml
from abcrl.data import Example, load_corpus, truncation_length
from abcrl.models import load_tokenizer
from abcrl.reporter import SilentReporter
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.supervised.reward.classifier_quality import fit_bag_of_words
from abcrl.supervised.texts import readable_texts


def beginning(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int) -> str:
    """What the first tokens of a text cover, by their offsets."""
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return text[: offsets[:tokens][-1][1]]


def share_right(bag: NaiveBayes, texts: Sequence[str], examples: Sequence[Example]) -> float:
    said = [bag.log_odds(text) > 0 for text in texts]
    right = [one == (example.label == 1) for one, example in zip(said, examples, strict=True)]
    return sum(right) / len(right)


def train_and_print(config: TrainRmConfig, tmp_path: Path) -> list[str]:
    """Runs the installed command and returns the lines it prints."""
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    [script] = entry_points(group="console_scripts", name="abcrl")
    answer = CliRunner().invoke(script.load(), ["train-rm", "--config", str(tmp_path / "c.yaml")])
    assert answer.exit_code == 0, answer.stderr
    assert "training: " in answer.stderr
    return answer.stdout.splitlines()


def test_the_last_row_has_the_quality_under_its_names(tiny_runs):
    rows = read_rows(tiny_runs.root / "reward-model", "metrics")
    last = rows[-1]
    assert last.keys() - rows[0].keys() == {
        "eval/accuracy",
        "eval/accuracy_truncated",
        "eval/naive_bayes_accuracy",
        "eval/naive_bayes_accuracy_truncated",
        "eval/calibration_error",
        "eval/calibration_error_truncated",
        "eval/nll",
        "eval/nll_truncated",
        "eval/cut_to",
        "eval/score_mean",
        "eval/score_std",
        "credit/texts",
        "credit/tokens",
        "credit/effective_tokens",
        "credit/entropy",
        "credit/punctuation_share",
        "credit/punctuation_token_share",
        "credit/first_token_share",
        "credit/last_token_share",
        "credit/causal_share",
        "credit/causal_token_share",
    }
    assert 0 <= last["eval/accuracy"] <= 1
    assert last["eval/cut_to"] == 80
    assert 1 <= last["credit/effective_tokens"] <= last["credit/tokens"] <= 80
    assert 0 <= last["credit/entropy"] <= math.log(80)
    assert last["credit/texts"] == 8


def test_there_is_one_row_a_step_whether_or_not_training_logs_the_last(tiny_runs, tmp_path):
    training = {"step", "train/loss", "train/learning_rate", "train/grad_norm"}
    rows = read_rows(tiny_runs.root / "reward-model", "metrics")
    assert [row["step"] for row in rows] == [5, 10, 15]
    assert rows[0].keys() == rows[1].keys() == training
    assert training < rows[2].keys()

    config = tiny_runs.train_rm(tmp_path / "run", training__max_steps=6, credit_texts=0)
    run_train_rm(config, SilentReporter())
    rows = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in rows] == [5, 6]
    assert rows[0].keys() == training
    assert rows[1].keys() & training == {"step"}
    assert rows[1]["eval/naive_bayes_accuracy"] <= 1


def test_naive_bayes_reads_what_the_reward_model_reads(tiny_runs):
    config = tiny_runs.train_rm(Path("unused"))
    corpus = load_corpus(config.data)
    tokenizer = load_tokenizer(str(tiny_runs.policy), "model")
    bag = fit_naive_bayes(
        [beginning(tokenizer, example.text, 80) for example in corpus.train],
        [example.label == 1 for example in corpus.train],
    )
    heldout = corpus.validation
    assert config.truncation is not None
    always = config.truncation.model_copy(update={"share": 1.0})
    cuts = [truncation_length(always, seed=0, index=row) or 0 for row in range(len(heldout))]
    cut = [
        beginning(tokenizer, example.text, length)
        for example, length in zip(heldout, cuts, strict=True)
    ]
    whole = [beginning(tokenizer, example.text, 80) for example in heldout]
    assert all(len(a) < len(b) < len(e.text) for a, b, e in zip(cut, whole, heldout, strict=True))

    last = read_rows(tiny_runs.root / "reward-model", "metrics")[-1]
    expected = share_right(bag, whole, heldout), share_right(bag, cut, heldout)
    assert last["eval/naive_bayes_accuracy"] == pytest.approx(expected[0])
    assert last["eval/naive_bayes_accuracy_truncated"] == pytest.approx(expected[1])
    assert expected[0] != expected[1]


def test_naive_bayes_learns_from_the_training_texts_as_far_as_they_are_read(tiny_tokenizer):
    examples = [
        Example("Good. " + "And so on, " * 4 + "splendid.", 1),
        Example("Bad <|endoftext|> " + "and so on, " * 30 + "awful.", 0),
    ]
    readable = readable_texts(examples, tiny_tokenizer, 80)
    texts = [readable[0].ids, readable[1].ids]
    eos = tiny_tokenizer.eos_token_id
    assert [ids[-1] == eos for ids in texts] == [True, False]

    bag = fit_bag_of_words(tiny_tokenizer, texts, examples)
    # "awful" is beyond max_length. The end-of-text token is no word, a text that spells it has one.
    assert {"good", "and", "so", "on", "splendid", "bad", "endoftext"} <= bag.ratios.keys()
    assert "awful" not in bag.ratios
    assert bag.ratios["endoftext"] == bag.ratios["bad"] < 0 < bag.ratios["good"]


def test_train_rm_prints_accuracy_beside_naive_bayes_and_the_spread_of_credit(tiny_runs, tmp_path):
    lines = train_and_print(tiny_runs.train_rm(tmp_path / "run"), tmp_path)
    title, whole, cut, calibration, whole_error, cut_error, score, *credit, model = lines
    last = read_rows(tmp_path / "run", "metrics")[-1]
    of = {name: f"{last[f'eval/{name}']:.1%}" for name in ("accuracy", "naive_bayes_accuracy")}
    cut_of = {name: f"{last[f'eval/{name}_truncated']:.1%}" for name in of}
    assert title == "held-out accuracy, beside that of naive Bayes on the same words:"
    assert whole == (
        f"  {of['accuracy']} (naive Bayes {of['naive_bayes_accuracy']}) on texts of at most 80 "
        f"tokens"
    )
    assert cut == (
        f"  {cut_of['accuracy']} (naive Bayes {cut_of['naive_bayes_accuracy']}) on texts cut to "
        f"10-22 tokens"
    )
    assert calibration == "calibration of P(positive) = sigmoid(score):"
    assert whole_error == (
        f"  error {last['eval/calibration_error']:.1%}, NLL {last['eval/nll']:.2f} nats on texts "
        f"of at most 80 tokens"
    )
    assert cut_error == (
        f"  error {last['eval/calibration_error_truncated']:.1%}, "
        f"NLL {last['eval/nll_truncated']:.2f} nats on texts cut to 10-22 tokens"
    )
    assert score.startswith("score ")
    part = {name.removeprefix("credit/"): value for name, value in last.items()}
    assert credit == [
        f"ABC credit over 8 held-out texts of {part['tokens']:.0f} tokens:",
        f"  {part['effective_tokens']:.1f} effective tokens, entropy {part['entropy']:.2f} nats",
        f"  {part['first_token_share']:.1%} on the first token, {part['last_token_share']:.1%} on "
        f"the last",
        f"  {part['punctuation_share']:.1%} on punctuation, which is "
        f"{part['punctuation_token_share']:.1%} of the tokens",
        f"  {part['causal_share']:.1%} on the words that truly decide, which are "
        f"{part['causal_token_share']:.1%} of the tokens",
    ]
    assert model == f"model in {tmp_path / 'run' / 'final'}"
    assert max(map(len, lines[:-1])) <= 80


def test_texts_are_called_complete_where_all_of_them_fit(tiny_runs, tmp_path):
    roomy = tiny_runs.sft(tmp_path / "sft", model__context_length=160, training__max_steps=1)
    policy = run_sft(roomy, SilentReporter()).final
    config = tiny_runs.train_rm(
        tmp_path / "run", model=str(policy), training__max_length=160, training__max_steps=1
    )
    lines = train_and_print(config, tmp_path)
    assert lines[1].endswith(") on complete texts")
    last = read_rows(tmp_path / "run", "metrics")[-1]
    assert "eval/cut_to" not in last
    # Cut to one length, texts have nothing that their score could follow; these do.
    assert lines[7] == (
        f"correlation of score and length {last['eval/length_pearson']:+.2f} (of their ranks "
        f"{last['eval/length_spearman']:+.2f})"
    )
