"""sft and train-rm: what they train on, what they leave behind."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from abcrl.config import (
    InputError,
    RunFailedError,
    SftConfig,
    TrainRmConfig,
    load_config,
    to_yaml,
)
from abcrl.data import Example, load_corpus
from abcrl.models import RewardModel, encode_plain
from abcrl.reporter import SilentReporter
from abcrl.stages.sft import heldout_loss, run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_reason, read_rows, read_status
from abcrl.supervised.sft_batches import collate, features
from abcrl.supervised.texts import Features, TextDataset, readable_texts

EXAMPLES = [Example(f"Number {n} was good, " + "and so on, " * n, n % 2) for n in range(40)]


def lengths(examples: list[Example], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each text with its EOS."""
    return [len(encode_plain(tokenizer, example.text)) + 1 for example in examples]


def sft_rows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Features]:
    """What SFT trains on."""
    texts = readable_texts(examples, tokenizer, max_length)
    return [features(texts, loss="response", index=index) for index in range(len(texts))]


def test_sft_ends_complete_texts_in_eos_and_cut_ones_without(tiny_tokenizer):
    rows = sft_rows(EXAMPLES, tiny_tokenizer, 60)
    eos = tiny_tokenizer.eos_token_id
    cut = 0
    for row, example, length in zip(rows, EXAMPLES, lengths(EXAMPLES, tiny_tokenizer), strict=True):
        ids = row["input_ids"]
        assert len(ids) == min(length, 60)
        assert ids.count(eos) == (length <= 60)
        assert (ids[-1] == eos) == (length <= 60)
        assert example.text.startswith(tiny_tokenizer.decode(ids, skip_special_tokens=True))
        cut += length > 60
    assert 0 < cut < len(rows)


def test_heldout_loss_is_a_mean_over_tokens_not_over_batches(tiny_causal_lm):
    model = tiny_causal_lm()
    rows = [{"input_ids": list(range(2, 2 + 3 + row % 5)), "start": 0} for row in range(130)]
    losses = []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        with torch.inference_mode():
            logprobs = model(input_ids=ids).logits.log_softmax(-1)[0, :-1]
        losses.append(-logprobs.gather(1, ids[0, 1:, None]).flatten())
    expected = float(torch.cat(losses).mean())
    dataset = TextDataset(rows, rows.__getitem__)
    measured = heldout_loss(model, dataset, partial(collate, pad_token_id=1), batch_size=2)
    assert measured == pytest.approx(expected, rel=1e-5)


def test_final_models_load_with_their_tokenizer(tiny_runs):
    policy = AutoModelForCausalLM.from_pretrained(tiny_runs.policy)
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_runs.reward_model)
    for folder in (tiny_runs.policy, tiny_runs.reward_model):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert len(tokenizer) == policy.config.vocab_size
        assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
        assert list(folder.glob("*.bin")) == []
        assert (folder / "model.safetensors").is_file()
    assert classifier.config.num_labels == 2
    assert classifier.config.id2label == {0: "negative", 1: "positive"}
    assert classifier.config.pad_token_id == tokenizer.pad_token_id


def test_the_reward_model_starts_from_the_sft_model(tiny_runs, tmp_path):
    config = tiny_runs.train_rm(
        tmp_path / "run", training__max_steps=1, training__learning_rate=1e-12
    )
    run_train_rm(config, SilentReporter())
    trunk = load_file(tiny_runs.policy / "model.safetensors")
    trained = load_file(tmp_path / "run" / "final" / "model.safetensors")
    shared = sorted(trunk.keys() & trained.keys())
    assert len(shared) > 20
    for name in shared:
        torch.testing.assert_close(trained[name], trunk[name], atol=1e-6, rtol=0)


def test_the_score_is_the_difference_of_the_classifier_s_logits(tiny_runs):
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_runs.reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_runs.reward_model)
    texts = [example.text for example in load_corpus(tiny_runs.sft(Path("unused")).data).train[:6]]
    batch = tokenizer(
        [text[: 40 + 20 * row] for row, text in enumerate(texts)],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert mask.sum(-1).unique().numel() > 1
    with torch.inference_mode():
        logits = classifier(input_ids=ids, attention_mask=mask).logits
    output = RewardModel(classifier).score(ids, mask.bool(), with_attention=True)
    torch.testing.assert_close(output.scores, logits[:, 1] - logits[:, 0], atol=1e-5, rtol=0)
    alone = RewardModel(classifier).score(ids, mask.bool(), with_attention=False)
    torch.testing.assert_close(alone.scores, output.scores, atol=1e-6, rtol=0)


def test_sft_rows_have_their_names_and_steps(tiny_runs):
    rows = read_rows(tiny_runs.root / "sft", "metrics")
    last = rows[-1]
    assert [row["step"] for row in rows] == [5, 10, 15]
    names = {"step", "train/loss", "train/learning_rate", "train/grad_norm"}
    assert all(row.keys() == names for row in rows[:-1])
    assert last.keys() == names | {"eval/loss", "eval/perplexity"}
    assert last["eval/perplexity"] == pytest.approx(2.718281828 ** last["eval/loss"], rel=1e-6)
    assert last["train/loss"] < rows[0]["train/loss"]
    # An untrained model is at log(400) = 5.99 nats.
    assert last["eval/loss"] < 5.5


def test_no_credit_is_reported_where_none_is_wanted(tiny_runs, tmp_path):
    config = tiny_runs.train_rm(tmp_path / "run", credit_texts=0, training__max_steps=1)
    result = run_train_rm(config, SilentReporter())
    assert result.quality.credit is None
    assert "credit/texts" not in read_rows(tmp_path / "run", "metrics")[-1]


def test_a_run_folder_says_how_it_ended_and_on_what_it_ran(tiny_runs):
    # Generated texts have their labels whoever reads them; SFT has trained its tokenizer on them.
    prints = {"sft": set(), "reward-model": {"tokenizer"}}
    for name, more in prints.items():
        folder = tiny_runs.root / name
        assert read_status(folder) == "finished"
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["fingerprints"].keys() == {"texts", "labels", "model", *more}
        assert environment["device"]
        assert [row["step"] for row in read_rows(folder, "timings")] == [5, 10, 15]


def test_the_saved_configuration_repeats_the_run_to_the_byte(tiny_runs, tmp_path):
    again = tmp_path / "sft"
    config = load_config(
        SftConfig, file=tiny_runs.root / "sft" / "config.yaml", flags={"run.output": str(again)}
    )
    run_sft(config, SilentReporter())
    require_same(tiny_runs.root / "sft", again)
    again = tmp_path / "reward-model"
    saved = tiny_runs.root / "reward-model" / "config.yaml"
    run_train_rm(
        load_config(TrainRmConfig, file=saved, flags={"run.output": str(again)}), SilentReporter()
    )
    require_same(tiny_runs.root / "reward-model", again)


def require_same(first: Path, second: Path) -> None:
    for name in ("metrics.jsonl", "final/model.safetensors", "final/tokenizer.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_another_seed_is_another_run(tiny_runs, tmp_path):
    run_sft(tiny_runs.sft(tmp_path / "run", run__seed=1), SilentReporter())
    first = read_rows(tiny_runs.root / "sft", "metrics")
    second = read_rows(tmp_path / "run", "metrics")
    assert first[0]["train/loss"] != second[0]["train/loss"]


def test_sft_goes_on_from_a_model_folder(tiny_runs, tmp_path):
    config = tiny_runs.sft(tmp_path / "run", model={"base": str(tiny_runs.policy)})
    result = run_sft(config, SilentReporter())
    first = read_rows(tiny_runs.root / "sft", "metrics")[-1]["eval/loss"]
    assert result.heldout_loss < first
    tokenizers = [folder / "tokenizer.json" for folder in (tiny_runs.policy, result.final)]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__architecture": "no-such"}, "model.architecture: must be a transformers model"),
        ({"model__architecture": "t5"}, "model.architecture: must be a transformers model"),
        ({"data__limit": 2}, "data.validation_fraction: must leave at least one"),
    ],
)
def test_sft_refuses_what_cannot_work_before_it_writes(tiny_runs, tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        run_sft(tiny_runs.sft(tmp_path / "run", **changes), SilentReporter())
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_sft_refuses_texts_longer_than_a_loaded_model_s_context(tiny_runs, tmp_path):
    model = {"base": str(tiny_runs.policy)}
    config = tiny_runs.sft(tmp_path / "run", model=model, training__max_length=97)
    with pytest.raises(InputError, match=r"training\.max_length: must fit the model's"):
        run_sft(config, SilentReporter())
    assert not (tmp_path / "run").exists()


def test_train_rm_refuses_texts_longer_than_the_context_before_it_writes(tiny_runs, tmp_path):
    with pytest.raises(InputError, match=r"training\.max_length: must fit .* of 96 tokens"):
        run_train_rm(
            tiny_runs.train_rm(tmp_path / "run", training__max_length=97), SilentReporter()
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("interval", "when"), [(1, "at step 2"), (4, "in steps 1 to 4"), (100, "in steps 1 to 15")]
)
def test_a_loss_that_is_no_number_ends_the_run_with_its_reason(tiny_runs, tmp_path, interval, when):
    config = tiny_runs.sft(
        tmp_path / "run", training__learning_rate=1e30, training__log_interval=interval
    )
    with pytest.raises(RunFailedError, match=f"train/loss is nan {when}; "):
        run_sft(config, SilentReporter())
    folder = tmp_path / "run"
    assert read_status(folder) == "failed"
    assert read_reason(folder).endswith("lower training.learning_rate")
    assert (folder / "config.yaml").read_text() == to_yaml(config)
    assert not (folder / "final").exists()
    rows = read_rows(folder, "metrics")
    assert [row["step"] for row in rows] == ([1] if interval == 1 else [])
