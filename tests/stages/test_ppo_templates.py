"""PPO on data that give their prompts: each model reads them in a template of its own."""

import shutil
from itertools import product
from typing import Any

import pytest
import torch

from abcrl.config import InputError, to_yaml
from abcrl.data import load_prompts
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter, decode_text, encode_plain, load_reward_model
from abcrl.stages.ppo import run_ppo
from tests.given_prompts import (
    CHAT,
    DIALOGUE,
    QUESTION,
    QUESTIONS,
    Models,
    chat_text,
    write_answers,
    write_conversations,
    write_transcripts,
)
from tests.stages.comparisons import Listening, samples_of


@pytest.mark.parametrize(
    ("kind", "template", "score_template"),
    [
        each
        for each in product(["own", "foreign"], [None, QUESTION, "chat"], [None, DIALOGUE, "chat"])
        if each != ("foreign", "chat", None)  # refused: see below
    ],
)
def test_each_model_reads_a_prompt_in_its_own_template(
    on_prompts, models: Models, tmp_path, kind, template, score_template
):
    reward_model, _ = models.reward(kind)
    source = write_answers(tmp_path / "rows.jsonl")
    config = on_prompts(
        source,
        reward_model=str(reward_model),
        data__template=template,
        score__template=score_template,
        steps=1,
        reward__mode="abc",
    )
    model, _ = load_reward_model(str(reward_model), "reward_model")
    writer = PromptWriter(models.tokenizer, template)
    questions = {tuple(writer.prompt_ids(PromptText(each))): each for each in QUESTIONS}
    for row in samples_of(config):
        question = questions[tuple(row["prompt_ids"])]
        ended = row["response_ids"][-1] == models.tokenizer.eos_token_id
        if kind == "own":
            ids = _spliced(models, row, question, score_template)
        else:
            said = decode_text(models.tokenizer, row["response_ids"])
            ids = _written(models, question, said, score_template or template, ended=ended)
        expected = model.score(
            torch.tensor([ids]), torch.ones(1, len(ids)).bool(), with_attention=False
        )
        assert row["score"] == pytest.approx(float(expected.scores[0]), abs=1e-4)
        assert sum(row["credit"]) == pytest.approx(1, abs=1e-5)


def _spliced(models: Models, row: dict[str, Any], question: str, template: str | None) -> list[int]:
    """What a reward model with the policy's tokens reads: the response's ids as they are."""
    tokenizer, response = models.tokenizer, list(row["response_ids"])
    eos = tokenizer.eos_token_id
    if template is None:
        return [*row["prompt_ids"], *response]
    if template == DIALOGUE:
        return [*encode_plain(tokenizer, f"Human: {question}\n\nAssistant:"), *response]
    text = chat_text([("user", question)]) + "<|assistant|>"
    ids: list[int] = tokenizer(text)["input_ids"]
    ids += response if response[-1] == eos else [*response, eos]
    return [*ids, *encode_plain(tokenizer, "\n")]


def _written(
    models: Models, question: str, said: str, template: str | None, *, ended: bool
) -> list[int]:
    """What one with other tokens reads: text."""
    tokenizer = models.foreign_tokenizer
    if template == "chat":
        text = chat_text([("user", question), ("assistant", said)])
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids
    filled = (template or "{prompt}{response}").replace("{prompt}", question)
    ids = encode_plain(tokenizer, filled.replace("{response}", said))
    return [*ids, tokenizer.eos_token_id] if ended else ids


def test_a_chat_prompt_means_nothing_to_other_tokens_without_a_template(
    on_prompts, models: Models, tmp_path
):
    config = on_prompts(
        write_answers(tmp_path / "rows.jsonl"),
        reward_model=str(models.foreign_reward_model),
        data__template="chat",
    )
    with pytest.raises(InputError, match=r"^score\.template: must be given where data\.template"):
        run_ppo(config, Listening())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_conversations_of_several_turns_are_written_turn_by_turn(
    on_prompts, models: Models, tmp_path, kind
):
    reward_model, tokenizer = models.reward(kind)
    config = on_prompts(
        write_conversations(tmp_path / "rows.jsonl", turns=3),
        reward_model=str(reward_model),
        data__template="chat",
        score__template="chat",
        evaluation__samples=8,
        evaluation__prompts=8,
        prompt__max_tokens=120,
        steps=1,
    )
    model, _ = load_reward_model(str(reward_model), "reward_model")
    corpus = load_prompts(config.data)
    written = {}
    for example in (*corpus.train, *corpus.validation):
        assert example.prompt is not None
        turns = [(turn.role, turn.content) for turn in example.prompt.turns]
        text = chat_text(turns) + "<|assistant|>"
        written[tuple(models.tokenizer(text)["input_ids"])] = text
    assert {text.count("<|user|>") for text in written.values()} == {1, 3}
    seen = set()
    for row in samples_of(config):
        text = written[tuple(row["prompt_ids"])]
        seen.add(text.count("<|user|>"))
        said = decode_text(models.tokenizer, row["response_ids"])
        if kind == "foreign":
            ids = tokenizer(f"{text}{said.strip()}<|endoftext|>\n")["input_ids"]
            mask = torch.ones(1, len(ids)).bool()
            expected = model.score(torch.tensor([ids]), mask, with_attention=False)
            assert row["score"] == pytest.approx(float(expected.scores[0]), abs=1e-4)
    assert seen == {1, 3}


@pytest.mark.parametrize("template", [None, "chat"])
def test_transcripts_are_read_as_they_stand_or_turn_by_turn(
    on_prompts, models: Models, tmp_path, template
):
    source = write_transcripts(tmp_path / "rows.jsonl")
    config = on_prompts(source, data__template=template, score__template="chat", steps=1)
    for row in samples_of(config):
        if template is None:
            assert row["prompt"].startswith("\n\nHuman: Was the")
            assert row["prompt"].endswith("\n\nAssistant:")
        else:
            assert "Human:" not in row["prompt"]
            assert row["prompt_ids"].count(models.tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__template": None}, r"^data\.template: must say how a conversation is written"),
        ({"data__template": QUESTION}, r"^data\.template: must be chat for conversations"),
        ({"score__template": DIALOGUE}, r"^score\.template: must be chat for conversations"),
        ({"prompt__max_tokens": 5}, r"^prompt\.max_tokens: some prompt must have at most 5 tokens"),
    ],
)
def test_what_no_template_has_a_place_for_is_refused_before_anything_is_written(
    on_prompts, tmp_path, changes, said
):
    source = write_conversations(tmp_path / "rows.jsonl")
    config = on_prompts(source, **{"data__template": "chat", "prompt__max_tokens": 120, **changes})
    with pytest.raises(InputError, match=said):
        run_ppo(config, Listening())
    assert not (tmp_path / "run").exists()


def test_a_plain_text_has_no_place_for_a_template(on_prompts, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(QUESTIONS), encoding="utf-8")
    config = on_prompts(tmp_path / "texts.txt", data__template=QUESTION)
    with pytest.raises(InputError, match=r"^data\.template: must be left out where rows are plain"):
        run_ppo(config, Listening())


def test_the_template_that_the_tests_spell_out_is_the_tokenizers(models: Models):
    turns = [("user", "Was it?"), ("assistant", " No. ")]
    rows = [{"role": role, "content": said} for role, said in turns]
    assert models.tokenizer.chat_template == CHAT
    assert models.tokenizer.apply_chat_template(rows, tokenize=False) == chat_text(turns)


@pytest.mark.parametrize(("given", "told"), [(None, True), (DIALOGUE, True), (QUESTION, False)])
def test_a_reward_model_that_learnt_another_template_is_told(
    on_prompts, models: Models, tiny_runs, tmp_path, given, told
):
    """Its own folder says what it was trained with; a folder alone says nothing."""
    trained = tiny_runs.train_rm(tmp_path / "rm", template=QUESTION)
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm" / "config.yaml").write_text(to_yaml(trained))
    reward_model = shutil.copytree(models.reward("own")[0], tmp_path / "rm" / "final")
    config = on_prompts(
        write_answers(tmp_path / "rows.jsonl"),
        reward_model=str(reward_model),
        score__template=given,
        steps=1,
    )
    reporter = Listening()
    run_ppo(config, reporter)
    said = [text for text in reporter.messages if text.startswith("score.template: ")]
    assert len(said) == told
    if told:
        assert f"was trained with {QUESTION!r} and is given" in said[0]
