"""`abcrl credit` on data that give prompts: what is measured is the response behind its prompt."""

from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.config import CreditConfig, InputError, load_config
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter, TextReader, encode_plain, load_reward_model
from abcrl.storage import read_rows
from abcrl.tools.credit import CreditReport, run_credit
from tests.given_prompts import (
    DIALOGUE,
    QUESTION,
    QUESTIONS,
    Models,
    write_answers,
    write_conversations,
    write_pairs,
)
from tests.stages.comparisons import Listening


def config_of(models: Models, source: Path, **changes: object) -> CreditConfig:
    settings: dict[str, object] = {
        "reward_model": str(models.reward_model),
        "policy": str(models.policy),
        "data.source": str(source),
        "data.validation_fraction": 0.4,
        "texts": 5,
        "reward.reference_responses": 8,
        "probe.steps": 3,
        "probe.random_orders": 1,
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(CreditConfig, flags={**settings, **named})


def rows_of(config: CreditConfig) -> tuple[CreditReport, list[dict[str, Any]]]:
    assert config.output is not None
    report = run_credit(config, Listening())
    return report, read_rows(Path(config.output), "texts")


@pytest.mark.parametrize("template", [None, QUESTION, "chat"])
def test_the_response_is_credited_and_the_prompt_stays(models: Models, tmp_path, template):
    source = write_pairs(tmp_path / "pairs.jsonl")
    config = config_of(
        models, source, data__template=template, output=str(tmp_path / "out"), modes=["abc", "red"]
    )
    report, rows = rows_of(config)
    assert (report.too_long, report.shortened, len(rows)) == (0, 0, 5)
    assert report.dropped_share is not None
    assert 0 < report.dropped_share < 1  # attention to the prompt
    model, _ = load_reward_model(str(models.reward_model), "reward_model")

    def score(ids: list[int]) -> float:
        mask = torch.ones(1, len(ids)).bool()
        return float(model.score(torch.tensor([ids]), mask, with_attention=False).scores[0])

    writer = PromptWriter(models.tokenizer, template)
    for row in rows:
        assert row["prompt"] in QUESTIONS
        assert row["text"].startswith(" It was not")  # chosen, not rejected
        prompt = writer.prompt_ids(PromptText(row["prompt"]))
        response = writer.response_ids(row["text"])
        assert row["ids"] == [*prompt, *response]
        assert len(row["drops"]) == len(row["credit"]["abc"]) == len(response)
        assert row["score"] == pytest.approx(score(row["ids"]), abs=1e-4)
        for token in (0, len(response) - 1):
            without = [*response[:token], *response[token + 1 :]]
            drop = row["score"] - score([*prompt, *without])
            assert row["drops"][token] == pytest.approx(drop, abs=1e-4)
        assert sum(row["credit"]["abc"]) == pytest.approx(1, abs=1e-5)
        added = row["score"] - score(prompt)
        assert sum(row["credit"]["red"]) == pytest.approx(added, abs=1e-4)


@pytest.mark.parametrize("score_template", [DIALOGUE, "chat"])
@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_a_reward_models_template_gets_the_prompt_as_its_source_has_it(
    models: Models, tmp_path, kind, score_template
):
    reward_model, tokenizer = models.reward(kind)
    config = config_of(
        models,
        write_answers(tmp_path / "rows.jsonl"),
        reward_model=str(reward_model),
        data__template=QUESTION,
        score__template=score_template,
        output=str(tmp_path / "out"),
        modes=["abc", "swapped", "position"],
    )
    _, rows = rows_of(config)
    model, _ = load_reward_model(str(reward_model), "reward_model")
    for row in rows:
        if score_template == DIALOGUE:
            reader = TextReader(tokenizer, template=DIALOGUE)
            [text] = reader.read([PromptText(row["prompt"])], [row["text"]])
            ids = text.ids
        else:
            said = row["text"].strip() if kind == "foreign" else row["text"]
            asked = f"<|user|>{row['prompt']}<|endoftext|>\n<|assistant|>"
            ids = tokenizer(f"{asked}{said}<|endoftext|>\n")["input_ids"]
        expected = model.score(
            torch.tensor([ids]), torch.ones(1, len(ids)).bool(), with_attention=False
        )
        assert row["score"] == pytest.approx(float(expected.scores[0]), abs=1e-4)


def test_conversations_are_kept_turn_by_turn(models: Models, tmp_path):
    config = config_of(
        models,
        write_conversations(tmp_path / "rows.jsonl", turns=2),
        data__template="chat",
        score__template="chat",
        output=str(tmp_path / "out"),
        texts=11,
        modes=["abc", "abc-d"],
    )
    _, rows = rows_of(config)
    kinds = set()
    for row in rows:
        roles = [turn["role"] for turn in row["prompt"]]
        kinds.add(roles.count("user"))
        text = "".join(f"<|{t['role']}|>{t['content']}<|endoftext|>\n" for t in row["prompt"])
        prompt = models.tokenizer(text + "<|assistant|>")["input_ids"]
        answer = encode_plain(models.tokenizer, row["text"].strip())
        assert row["ids"] == [*prompt, *answer, models.tokenizer.eos_token_id]
        assert len(row["drops"]) == len(answer) + 1
    assert kinds == {1, 2}


def test_responses_that_do_not_fit_are_left_out_whole_and_counted(models: Models, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl")
    config = config_of(models, source, output=str(tmp_path / "all"), texts=20, modes=["uniform"])
    _, rows = rows_of(config)
    lengths = sorted(len(row["ids"]) for row in rows)
    limit = lengths[len(lengths) // 2]
    fewer = config.replace(output=str(tmp_path / "few"), max_length=limit)
    reporter = Listening()
    report = run_credit(fewer, reporter)
    kept = read_rows(tmp_path / "few", "texts")
    assert report.too_long == sum(length > limit for length in lengths) > 0
    assert kept == [row for row in rows if len(row["ids"]) <= limit]
    [message] = reporter.messages
    assert message.startswith(f"data: {report.too_long} of {len(rows)} held-out texts left out")


def test_prompts_get_more_room_than_plain_texts_unless_a_length_is_given(models: Models, tmp_path):
    questions = [f"{question} {'Really? ' * 25}" for question in QUESTIONS]
    config = config_of(
        models,
        write_answers(tmp_path / "rows.jsonl", questions),
        output=str(tmp_path / "out"),
        modes=["uniform"],
        texts=2,
    )
    report, rows = rows_of(config)
    assert report.too_long == 0
    assert all(128 < len(row["ids"]) <= 256 for row in rows)


def test_a_prompt_that_the_reward_model_cannot_read_whole_is_left_out(models: Models, tmp_path):
    long = [f"{question} {'how long a question! ' * 6}" for question in QUESTIONS[:9]]
    source = write_answers(tmp_path / "rows.jsonl", [*long, *QUESTIONS[9:]])
    config = config_of(
        models,
        source,
        reward_model=str(models.foreign_reward_model),
        score__template="Read this: " + "again, " * 14 + DIALOGUE,
        output=str(tmp_path / "out"),
        texts=12,
        modes=["abc"],
    )
    report, rows = rows_of(config)
    assert report.too_long > 0
    assert report.shortened == 0
    assert {row["prompt"] for row in rows} <= set(QUESTIONS)
    assert all(abs(drop) > 0 for row in rows for drop in row["drops"][:1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__template": "chat", "max_length": 9}, r"^max_length: must leave at least two"),
        ({}, r"^data\.template: must say how a conversation is written"),
        (
            {"data__template": "chat", "score__template": DIALOGUE},
            r"^score\.template: must be chat for conversations of several turns",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(
    models: Models, tmp_path, changes, said
):
    source = write_conversations(tmp_path / "rows.jsonl")
    config = config_of(models, source, output=str(tmp_path / "out"), texts=11, **changes)
    with pytest.raises(InputError, match=said):
        run_credit(config, Listening())
    assert not (tmp_path / "out").exists()


def test_plain_texts_have_no_place_for_a_template(models: Models, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(QUESTIONS), encoding="utf-8")
    config = config_of(models, tmp_path / "texts.txt", data__template=QUESTION)
    with pytest.raises(InputError, match=r"^data\.template: must be left out where rows are plain"):
        run_credit(config, Listening())
