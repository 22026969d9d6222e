"""train-rm on labelled texts and responses: what it is trained on and judged by."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from abcrl.analysis.quality.reward_quality import RewardModelQuality
from abcrl.config import TrainRmConfig
from abcrl.data import Corpus, Example
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter, encode_plain, load_reward_model, load_tokenizer
from abcrl.reporter import SilentReporter
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows
from abcrl.supervised.reward.classification import Classification
from abcrl.supervised.reward.rows import pad_rows
from abcrl.supervised.texts import Features

EXAMPLES = [Example(f"Number {n} was good, " + "and so on, " * n, n % 2) for n in range(40)]
RESPONSES = [
    Example(
        f" It was {('bad', 'good')[n % 2]}, and number {n}" + ", and so on" * (n % 4) + ".",
        n % 2,
        PromptText(f"What of number {n}?"),
    )
    for n in range(160)
]


def classification(config: TrainRmConfig, tokenizer: Any, examples: list[Example]) -> Any:
    corpus = Corpus(examples, examples[:8], "fingerprint")
    return Classification(config, corpus, tokenizer, print)


def rows_of(config: TrainRmConfig, tokenizer: Any, examples: list[Example]) -> list[Features]:
    dataset = classification(config, tokenizer, examples).dataset
    return [dataset[index] for index in range(len(dataset))]


def lengths(examples: list[Example], tokenizer: Any) -> list[int]:
    """Tokens of each text with its EOS."""
    return [len(encode_plain(tokenizer, example.text)) + 1 for example in examples]


def test_the_reward_model_also_sees_texts_cut_to_the_lengths_of_ppo(tiny_runs, tiny_tokenizer):
    many = EXAMPLES * 20
    config = tiny_runs.train_rm(
        Path("unused"), truncation__min_tokens=9, truncation__max_tokens=13, truncation__share=0.4
    )
    rows = rows_of(config, tiny_tokenizer, many)
    full = lengths(many, tiny_tokenizer)
    assert min(full) >= 13
    cut = [
        len(row["input_ids"])
        for row, length in zip(rows, full, strict=True)
        if len(row["input_ids"]) < min(length, 80)
    ]
    assert set(cut) == set(range(9, 14))
    assert 0.35 < len(cut) / len(rows) < 0.45
    eos = tiny_tokenizer.eos_token_id
    for row, length, example in zip(rows, full, many, strict=True):
        assert (row["input_ids"][-1] == eos) == (len(row["input_ids"]) == length)
        assert row["label"] == example.label


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 40)])
def test_the_share_of_cut_texts_is_kept(tiny_runs, tiny_tokenizer, share, expected):
    config = tiny_runs.train_rm(Path("unused"), truncation__share=share, training__max_length=96)
    rows = rows_of(config, tiny_tokenizer, EXAMPLES)
    whole = [min(length, 96) for length in lengths(EXAMPLES, tiny_tokenizer)]
    shorter = [len(row["input_ids"]) < n for row, n in zip(rows, whole, strict=True)]
    limits = [n for n in whole if n <= 22]
    assert expected - len(limits) <= sum(shorter) <= expected


@pytest.mark.parametrize("template", [None, "Q: {prompt} A:{response} (end)"])
def test_of_a_response_the_prompt_is_whole_and_the_response_may_be_cut(
    tiny_runs, tiny_tokenizer, template
):
    config = tiny_runs.train_rm(
        Path("unused"),
        template=template,
        truncation__min_tokens=3,
        truncation__max_tokens=5,
        truncation__share=0.5,
    )
    rows = rows_of(config, tiny_tokenizer, RESPONSES)
    writer = PromptWriter(tiny_tokenizer)
    around = ("", "") if template is None else ("Q: ", " (end)")
    cut = 0
    for row, example in zip(rows, RESPONSES, strict=True):
        assert example.prompt is not None
        response_ids = writer.response_ids(example.text)
        ended = row["input_ids"][-1] == tiny_tokenizer.eos_token_id
        cut += not ended
        between = "" if template is None else " A:"
        before = f"{around[0]}{example.prompt.text}{between}"
        said = [
            tiny_tokenizer.decode(response_ids[:tokens])
            for tokens in ([len(response_ids) - 1] if ended else [3, 4, 5])
        ]
        text = tiny_tokenizer.decode(row["input_ids"], skip_special_tokens=True)
        assert text in [f"{before}{one}{around[1]}" for one in said]
        assert row["label"] == example.label
    assert 0.35 < cut / len(rows) < 0.65


def test_the_heldout_loss_is_the_likelihood_of_heldout_labels(tiny_runs):
    reward_model, tokenizer = load_reward_model(str(tiny_runs.reward_model), "reward_model")
    objective = classification(tiny_runs.train_rm(Path("unused")), tokenizer, EXAMPLES)
    texts = EXAMPLES[:8]
    rows = [[*encode_plain(tokenizer, one.text), tokenizer.eos_token_id][:80] for one in texts]
    scores = reward_model.score(*pad_rows(rows)).scores.tolist()
    expected = sum(
        math.log(1 + math.exp(-score if one.label == 1 else score))
        for score, one in zip(scores, texts, strict=True)
    )
    assert objective.heldout_loss(reward_model.model) == pytest.approx(expected / 8, rel=1e-5)


@pytest.mark.parametrize("messages", [False, True])
def test_a_classifier_learns_from_prompts_and_responses(tiny_runs, tmp_path, messages):
    rows = []
    for one in RESPONSES:
        assert one.prompt is not None
        turns = [
            {"role": "user", "content": one.prompt.text},
            {"role": "assistant", "content": one.text},
        ]
        said = (
            {"messages": turns} if messages else {"prompt": one.prompt.text, "response": one.text}
        )
        rows.append({**said, "label": one.label})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_runs.train_rm(
        tmp_path / "run",
        data__source=str(file),
        data__limit=None,
        data__validation_fraction=0.2,
        data__template="Q: {prompt}\nA:{response}" if messages else None,
        truncation__share=0.0,
        training__max_steps=40,
        training__warmup_steps=5,
        evaluation__interval=10,
    )
    quality = run_train_rm(config, SilentReporter()).quality
    assert isinstance(quality, RewardModelQuality)
    assert quality.accuracy > 0.9
    assert quality.cut_to is None
    written = read_rows(tmp_path / "run", "metrics")
    losses = [row["eval/loss"] for row in written if "eval/loss" in row]
    assert [row["step"] for row in written if "eval/loss" in row] == [10, 20, 30, 40]
    assert losses[-1] < losses[0]
    assert losses[-1] == pytest.approx(quality.nll, rel=1e-5)
    # Credit lies on responses alone.
    writer = PromptWriter(load_tokenizer(config.model, "model"), config.data.template)
    longest = max(len(writer.response_ids(one.text)) for one in RESPONSES)
    assert 5 < written[-1]["credit/tokens"] <= longest
