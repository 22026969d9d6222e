"""sft from every format: what is read, what is learnt of it, what is left out and told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from abcrl.config import InputError, SftConfig
from abcrl.reporter import SilentReporter
from abcrl.stages.sft import SftResult, run_sft
from abcrl.storage import read_rows

Row = dict[str, Any]
RunRows = Callable[..., tuple[SftResult, list[str]]]

COLOURS = ("red", "green", "blue", "grey")
ASKED = [f"What is the colour of box {number}?" for number in range(120)]
SAID = [f" It is {COLOURS[number % 4]}." for number in range(120)]


class Listener(SilentReporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def message(self, text: str) -> None:
        self.told.append(text)


def turns(*contents: str) -> list[Row]:
    return [
        {"role": role, "content": content}
        for role, content in zip(("user", "assistant") * 2, contents, strict=False)
    ]


@pytest.fixture
def run_rows(tiny_runs, tmp_path: Path) -> RunRows:
    """run(rows, **changes): the result of SFT on rows of a JSONL file, and what it told."""

    def run(rows: list[Row], **changes: object) -> tuple[SftResult, list[str]]:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        settings = {"data__source": str(file), "data__limit": None, **changes}
        config: SftConfig = tiny_runs.sft(tmp_path / "run", **settings)
        listener = Listener()
        return run_sft(config, listener), listener.told

    return run


FORMATS: dict[str, list[Row]] = {
    "text": [{"text": q + a} for q, a in zip(ASKED, SAID, strict=True)],
    "response": [{"prompt": q, "response": a} for q, a in zip(ASKED, SAID, strict=True)],
    "pairs": [
        {"prompt": q, "chosen": a, "rejected": " No."} for q, a in zip(ASKED, SAID, strict=True)
    ],
    "transcripts": [
        {
            "chosen": f"\n\nHuman: {q}\n\nAssistant:{a}",
            "rejected": f"\n\nHuman: {q}\n\nAssistant: No.",
        }
        for q, a in zip(ASKED, SAID, strict=True)
    ],
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_learnt(run_rows, tmp_path, name):
    result, told = run_rows(FORMATS[name])
    assert told == []
    assert result.heldout_loss < 6.0
    AutoModelForCausalLM.from_pretrained(result.final)
    last = read_rows(tmp_path / "run", "metrics")[-1]
    assert last["eval/perplexity"] > 1


def test_conversations_need_a_template_and_are_learnt_with_one(run_rows, tmp_path):
    rows = [{"messages": turns(q, a)} for q, a in zip(ASKED, SAID, strict=True)]
    with pytest.raises(InputError, match=r"^data\.template: must say how a conversation is writ"):
        run_rows(rows)
    assert not (tmp_path / "run").exists()
    result, _ = run_rows(rows, data__template="Q: {prompt}\nA:{response}")
    tokenizer = AutoTokenizer.from_pretrained(result.final)
    assert str(tokenizer.decode(tokenizer("Q: What")["input_ids"])).endswith("Q: What")


def test_several_turns_and_a_text_template_are_refused_with_what_to_do(run_rows):
    rows = [{"messages": turns(q, a, q, a)} for q, a in zip(ASKED, SAID, strict=True)]
    template = {"data__template": "Q: {prompt}\nA:{response}"}
    with pytest.raises(InputError, match=r"leave them out with data\.rows\.max_turns=1"):
        run_rows(rows, **template)
    single = [{"messages": turns(q, a)} for q, a in zip(ASKED, SAID, strict=True)]
    _, told = run_rows([*rows[:3], *single], **template, data__rows={"max_turns": 1})
    [line] = told
    assert "3 rows left out" in line
    assert "rows.jsonl:1" in line


def test_a_tokenizer_without_chat_template_is_refused(run_rows):
    rows = [{"messages": turns(q, a)} for q, a in zip(ASKED, SAID, strict=True)]
    with pytest.raises(InputError, match=r"^data\.template: must be a text with .* no chat templ"):
        run_rows(rows, data__template="chat")


def test_learning_prompts_too_is_another_loss(run_rows, tmp_path):
    rows = FORMATS["response"]
    responses, _ = run_rows(rows, training__max_steps=1)
    (tmp_path / "run").rename(tmp_path / "first")
    everything, _ = run_rows(rows, training__max_steps=1, loss="all")
    assert responses.heldout_loss != everything.heldout_loss


def test_rows_that_do_not_fit_are_counted(run_rows):
    long = {"prompt": "What? " * 90, "response": " That."}
    _, told = run_rows([long, *FORMATS["response"], {**long, "response": " This."}])
    # Both answer one prompt, so they are on one side.
    [line] = told
    assert ": 2 rows left out, as prompt and response have more than 80 tokens" in line


def test_packed_rows_are_full_and_train(run_rows, tmp_path):
    result, _ = run_rows(
        FORMATS["text"], packing=True, training__max_steps=None, training__epochs=2.0
    )
    # 120 texts of about 30 tokens, less those held out, in rows of 80, 8 to a step.
    assert 6 <= result.steps <= 16
    plain_steps = 2 * 114 / 8
    assert result.steps < plain_steps / 2
    rows = read_rows(tmp_path / "run", "metrics")
    assert rows[-1]["eval/loss"] < 6.0


def test_a_template_on_plain_texts_is_refused_before_anything_is_written(run_rows, tmp_path):
    with pytest.raises(InputError, match=r"^data\.template: must be left out where rows are plain"):
        run_rows(FORMATS["text"], data__template="Q: {prompt}\nA:{response}")
    assert not (tmp_path / "run").exists()


def test_a_file_of_held_out_rows_is_held_out(run_rows, tmp_path):
    heldout = tmp_path / "heldout.jsonl"
    rows = FORMATS["response"]
    heldout.write_text("".join(json.dumps(row) + "\n" for row in rows[:20]), encoding="utf-8")
    _, told = run_rows(rows, data__validation=str(heldout))
    [line] = told
    assert line.startswith("data: 20 rows left out")
    assert "data.validation" in line
