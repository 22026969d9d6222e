"""PPO on data that give their prompts, start to end: whole prompts in, each model's own reading."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.config import InputError, PpoConfig, load_config
from abcrl.data import load_prompts
from abcrl.dialogue import PromptText
from abcrl.models import PromptWriter, decode_text, encode_plain, load_reward_model
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_rows
from tests.conftest import TINY_PPO
from tests.given_prompts import (
    CHAT,
    DIALOGUE,
    QUESTION,
    QUESTIONS,
    Models,
    make_models,
    write_answers,
    write_conversations,
    write_pairs,
    write_transcripts,
)
from tests.stages.comparisons import Listening
from tests.stages.resuming import assert_same_end, go_on
from tests.stages.stopped_runs import Stopping

Configure = Callable[..., PpoConfig]


@pytest.fixture(scope="module")
def models(tiny_causal_lm, tiny_classifier, tmp_path_factory) -> Models:
    return make_models(tiny_causal_lm, tiny_classifier, tmp_path_factory.mktemp("models"))


@pytest.fixture
def configure(models: Models, tmp_path: Path) -> Configure:
    """configure(source, name="run", **changes): a run of three steps on a file."""

    def configure(source: Path, name: str = "run", **changes: object) -> PpoConfig:
        settings: dict[str, Any] = {
            **TINY_PPO,
            "data.limit": None,
            "data.source": str(source),
            "data.validation_fraction": 0.4,
            "prompt.max_tokens": 60,
            "policy": str(models.policy),
            "reward_model": str(models.reward_model),
            "run.output": str(tmp_path / name),
        }
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return load_config(PpoConfig, flags={**settings, **named})

    return configure


def samples_of(config: PpoConfig) -> list[dict[str, Any]]:
    run_ppo(config, Listening())
    return read_rows(Path(config.run.output), "samples")


def chat_text(turns: list[tuple[str, str]]) -> str:
    """What `CHAT` writes, spelled out here."""
    return "".join(f"<|{role}|>{said.strip()}<|endoftext|>\n" for role, said in turns)


def test_a_prompt_is_answered_whole_and_none_is_on_both_sides(configure, models, tmp_path):
    file = write_pairs(tmp_path / "pairs.jsonl")
    config = configure(file)
    corpus = load_prompts(config.data)
    heldout = {example.prompt.text for example in corpus.validation if example.prompt}
    training = {example.prompt.text for example in corpus.train if example.prompt}
    assert heldout | training == set(QUESTIONS)
    assert not heldout & training
    samples = samples_of(config)
    for row in samples:
        assert row["prompt"] in heldout
        assert row["prompt_ids"] == encode_plain(models.tokenizer, row["prompt"])
    first = [row["prompt"] for row in samples if row["step"] == 0]
    assert len(set(first)) == len(first)
    metrics = read_rows(tmp_path / "run", "metrics")
    assert [row["step"] for row in metrics] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "template", "score_template"),
    [
        each
        for each in product(["own", "foreign"], [None, QUESTION, "chat"], [None, DIALOGUE, "chat"])
        if each != ("foreign", "chat", None)  # refused: see below
    ],
)
def test_each_model_reads_a_prompt_in_its_own_template(
    configure, models: Models, tmp_path, kind, template, score_template
):
    reward_model, _ = models.reward(kind)
    source = write_answers(tmp_path / "rows.jsonl")
    config = configure(
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
    configure, models: Models, tmp_path
):
    config = configure(
        write_answers(tmp_path / "rows.jsonl"),
        reward_model=str(models.foreign_reward_model),
        data__template="chat",
    )
    with pytest.raises(InputError, match=r"^score\.template: must be given where data\.template"):
        run_ppo(config, Listening())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_conversations_of_several_turns_are_written_turn_by_turn(
    configure, models: Models, tmp_path, kind
):
    reward_model, tokenizer = models.reward(kind)
    config = configure(
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
    configure, tmp_path, changes, said
):
    source = write_conversations(tmp_path / "rows.jsonl")
    config = configure(source, **{"data__template": "chat", "prompt__max_tokens": 120, **changes})
    with pytest.raises(InputError, match=said):
        run_ppo(config, Listening())
    assert not (tmp_path / "run").exists()


def test_a_plain_text_has_no_place_for_a_template(configure, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(QUESTIONS), encoding="utf-8")
    config = configure(tmp_path / "texts.txt", data__template=QUESTION)
    with pytest.raises(InputError, match=r"^data\.template: must be left out where rows are plain"):
        run_ppo(config, Listening())


def test_prompts_that_are_too_long_are_left_out_and_told(configure, models: Models, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl")
    lengths = sorted(len(encode_plain(models.tokenizer, each)) for each in QUESTIONS)
    longest = lengths[len(lengths) // 2]
    reporter = Listening()
    run_ppo(configure(source, prompt__max_tokens=longest, steps=1), reporter)
    too_long = sum(length > longest for length in lengths)
    assert any(f"{too_long} prompts left out" in line for line in reporter.messages)
    for row in read_rows(tmp_path / "run", "samples"):
        assert len(row["prompt_ids"]) <= longest
        assert row["prompt"] in QUESTIONS


@pytest.mark.parametrize("template", [None, "chat"])
def test_transcripts_are_read_as_they_stand_or_turn_by_turn(
    configure, models: Models, tmp_path, template
):
    source = write_transcripts(tmp_path / "rows.jsonl")
    config = configure(source, data__template=template, score__template="chat", steps=1)
    for row in samples_of(config):
        if template is None:
            assert row["prompt"].startswith("\n\nHuman: Was the")
            assert row["prompt"].endswith("\n\nAssistant:")
        else:
            assert "Human:" not in row["prompt"]
            assert row["prompt_ids"].count(models.tokenizer.eos_token_id) == 1


def test_red_gives_each_token_what_it_adds_to_the_score_of_the_whole_prompt(
    configure, models: Models, tmp_path
):
    source = write_answers(tmp_path / "rows.jsonl")
    config = configure(source, reward__mode="red", data__template=QUESTION, steps=1)
    model, _ = load_reward_model(str(models.reward_model), "reward_model")
    for row in samples_of(config):
        assert sum(row["token_scores"]) == pytest.approx(
            row["score"] - row["score_offset"], abs=1e-4
        )
        ids = torch.tensor([[*row["prompt_ids"], *row["response_ids"]]])
        whole = torch.ones_like(ids).bool()
        prefixes = model.score(ids, whole, with_attention=False, with_prefixes=True).prefix_scores
        assert prefixes is not None
        steps = prefixes[0, len(row["prompt_ids"]) - 1 :].diff()
        share = steps[1] - steps[0]  # two tokens apart: what all tokens share cancels out
        beta = 0.8
        found = row["token_scores"][1] - row["token_scores"][0]
        assert found == pytest.approx(beta * float(share), abs=1e-3)


@pytest.mark.parametrize("changes", [{}, {"networks__lora__rank": 2}, {"reward__mode": "swapped"}])
def test_a_stopped_run_goes_on_to_the_same_bytes(configure, tmp_path, changes):
    source = write_conversations(tmp_path / "rows.jsonl")
    settings = {
        "data__template": "chat",
        "prompt__max_tokens": 120,
        "checkpoint__interval": 2,
        **changes,
    }
    run_ppo(configure(source, "whole", **settings), Listening())
    stopped = configure(source, "stopped", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_ppo(stopped, Stopping(2))
    assert go_on(stopped) == ["resumed from step 2"]
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


def test_arms_are_given_the_same_prompts_and_the_same_first_responses(configure, tmp_path):
    source = write_pairs(tmp_path / "rows.jsonl")
    arms = [
        samples_of(configure(source, name, reward__mode=name, data__template=QUESTION))
        for name in ("abc", "rlhf", "abc-d")
    ]
    for arm in arms[1:]:
        for ours, theirs in zip(arms[0], arm, strict=True):
            assert ours["prompt_ids"] == theirs["prompt_ids"]
            if ours["step"] == 0:
                assert ours["response_ids"] == theirs["response_ids"]


def test_what_is_held_out_may_be_a_file_of_its_own(configure, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl", QUESTIONS[:18])
    heldout = write_answers(tmp_path / "heldout.jsonl", QUESTIONS[15:])
    config = configure(source, data__validation=str(heldout), evaluation__samples=8, steps=1)
    reporter = Listening()
    run_ppo(config, reporter)
    assert any("3 rows left out: held out by data.validation" in one for one in reporter.messages)
    shown = {row["prompt"] for row in read_rows(tmp_path / "run", "samples")}
    assert shown <= set(QUESTIONS[15:])


def test_the_template_that_the_tests_spell_out_is_the_tokenizers(models: Models):
    turns = [("user", "Was it?"), ("assistant", " No. ")]
    rows = [{"role": role, "content": said} for role, said in turns]
    assert models.tokenizer.chat_template == CHAT
    assert models.tokenizer.apply_chat_template(rows, tokenize=False) == chat_text(turns)
