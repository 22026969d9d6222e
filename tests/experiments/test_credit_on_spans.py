"""The measurement of credit on marked errors, on answers that can be counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from abcrl.config import InputError
from abcrl.models import encode_plain, load_reward_model, tokens_in_spans

LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}


def row(question: str, answers: list[str], errors: list[tuple[str, int, int]]) -> dict[str, object]:
    named = [{"type": kind, "start": start, "end": end} for kind, start, end in errors]
    return {
        "question": question,
        "passages": [["Plot", "The plot was good."]],
        "gold": answers[1],
        "outputs": answers,
        # 1 is better than 0 and 2; 0 and 2 are alike.
        "preferences": [[0, 1, 1], [0, 2, None], [1, 2, 1]],
        "errors_in_output_0": named,
        "corrected_output_0": answers[1],
    }


ROWS = [
    row("was it good?", ["the plot was good.", "good.", "not good."], [("Irrelevant", 0, 8)]),
    row("and the acting?", ["the acting was not.", "not good.", "good."], []),
    row(
        "the plot?",
        ["the plot was good, and the acting was.", "good, and not.", "acting."],
        [("Redundant", 18, 38), ("Irrelevant", 0, 8)],
    ),
]


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("qa-feedback", "credit_on_spans")


@pytest.fixture(scope="module")
def reward_model_folder(tiny_classifier, tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward-model")
    rows = len(tiny_tokenizer)
    tiny_classifier(vocab_size=rows, max_position_embeddings=128, **LABELS).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    return file


@pytest.fixture(scope="module")
def answer_reader(load_script, reward_model_folder):
    model, tokenizer = load_reward_model(str(reward_model_folder), "reward_model")
    return load_script("qa-feedback", "reader").Reader(model, tokenizer, "{question}\n")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def first_answers() -> list[str]:
    return [str(one["outputs"][0]) for one in ROWS]  # type: ignore[index]


def test_a_ratio_is_that_of_the_sums_and_its_interval_holds_it(script):
    exact = script.ratio(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    # Of two responses, resampled: both the first, both the second, or one of each.
    assert (exact.value, exact.low, exact.high) == (1.0, 0.5, 1.5)
    assert script.ratio(np.ones(5), np.full(5, 2.0)) == (0.5, 0.5, 0.5)


def test_preferences_are_counted_by_question_and_a_tie_is_half(script):
    values = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0], [3.0, 2.0, 2.5]])
    right, total = script.preference_counts(ROWS, values)
    # 1 against 0 and 1 against 2: right, wrong; equal, right; wrong, wrong.
    assert right.tolist() == [1.0, 1.5, 0.0]
    assert total.tolist() == [2.0, 2.0, 2.0]


def test_scores_are_those_of_each_question_and_answer_alone(answer_reader):
    tokenizer = answer_reader.tokenizer
    scores = answer_reader.score(answer_reader.encode(ROWS, first_answers())).scores
    for number, one in enumerate(ROWS):
        text = [
            *encode_plain(tokenizer, f"{one['question']}\n"),
            *encode_plain(tokenizer, first_answers()[number]),
            tokenizer.eos_token_id,
        ]
        ids = torch.tensor([text])
        alone = answer_reader.reward_model.score(
            ids, torch.ones_like(ids).bool(), with_attention=False
        )
        torch.testing.assert_close(scores[number], alone.scores[0], rtol=0, atol=1e-5)


def test_marked_tokens_are_those_of_the_answer_and_never_eos(
    script, tiny_tokenizer: PreTrainedTokenizerBase, answer_reader
):
    batch = answer_reader.encode(ROWS, first_answers())
    marked = script.marked_tokens(tiny_tokenizer, ROWS, batch.response_mask.shape[1])
    assert list(marked) == [script.ANY, "Irrelevant", "Redundant"]
    whole = [False] * batch.response_mask.shape[1]
    expected = tokens_in_spans(tiny_tokenizer, first_answers()[0], [(0, 8)])
    assert 0 < sum(expected) < len(expected)
    assert marked["Irrelevant"][0].tolist()[: len(expected)] == expected
    assert marked["Irrelevant"][1].tolist() == whole
    assert (marked[script.ANY] == (marked["Irrelevant"] | marked["Redundant"])).all()
    assert not (marked[script.ANY] & ~batch.response_mask).any()
    # The last span ends where the answer does; behind it stands EOS.
    assert not marked[script.ANY][2, batch.response_mask[2].sum() - 1]
    assert marked[script.ANY][2, batch.response_mask[2].sum() - 2]


def test_uniform_credit_is_the_share_of_the_tokens_and_rlhf_has_none(
    script, reward_model_folder, data, capsys
):
    script.main(["--reward-model", str(reward_model_folder), "--data", str(data)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    table = {line[-6]: line for line in lines if line[:3] == ["any", "of", "them"]}
    assert set(table) == set(script.MODES)
    assert table["uniform"][-4:] == ["1.00", "(1.00", "to", "1.00)"]
    assert table["rlhf"][-4:] == ["0.00", "(0.00", "to", "0.00)"]
    assert len({line[-7] for line in table.values()}) == 1  # the same tokens are asked about


def test_credit_of_prefix_differences_needs_no_attention_of_the_policy(
    script, reward_model_folder, data, capsys
):
    options = ["--reward-model", str(reward_model_folder), "--data", str(data), "--modes", "red"]
    script.main(options)
    assert " red " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        script.main([*options, "abc-d"])


def test_an_answer_that_does_not_fit_the_context_is_refused(answer_reader):
    with pytest.raises(InputError, match="context of 128 tokens, received"):
        answer_reader.encode(ROWS[:1], ["the plot was not good, " * 40])


def test_answers_that_nobody_has_judged_are_refused(script):
    script.require_judgements(ROWS)
    with pytest.raises(InputError, match="must hold a preference and an answer with marked errors"):
        script.require_judgements([ROWS[1]])


def test_rows_of_other_data_are_refused_by_file_and_line(load_script, tmp_path):
    file = tmp_path / "other.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({"text": "good"}) + "\n")
    read_rows = load_script("qa-feedback", "answers").read_rows
    with pytest.raises(InputError, match=r"other.jsonl:2: must have the field question"):
        read_rows(file)
    file.write_text(json.dumps(ROWS[0]) + "\nno JSON\n")
    with pytest.raises(InputError, match=r"other.jsonl:2: must be a JSON object on one line"):
        read_rows(file)


def test_no_question_is_both_trained_on_and_held_out(load_script, tmp_path, capsys):
    script = load_script("qa-feedback", "make_texts")
    rows = [row(f"question {number}?", ["a", "b", "c"], []) for number in range(20)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in rows))
    script.main(["--data", str(data), "--output", str(tmp_path / "texts")])
    written = {
        name: [json.loads(line) for line in _lines(tmp_path / "texts" / f"{name}.jsonl")]
        for name in ("sft", "labelled", "heldout")
    }
    heldout = {one["question"] for one in written["heldout"]}
    assert 0 < len(heldout) < 20
    learnt = {one["text"].split("\n")[0] for one in written["labelled"]}
    assert learnt == {str(one["question"]) for one in rows} - heldout
    assert not any(question in one["text"] for one in written["sft"] for question in heldout)
    # Answer 1 won both of its comparisons, 0 and 2 lost theirs.
    labels = {one["text"].split("\n")[1]: one["label"] for one in written["labelled"]}
    assert labels == {"a": 0, "b": 1, "c": 0}
