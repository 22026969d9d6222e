"""What inspection says of rows that some commands refuse, leave out, or read twice."""

from copy import deepcopy

import pytest

from tests.data.rows import write_rows
from tests.tools.inspected import report_of, troubles_of


def test_bad_rows_of_the_held_out_file_are_refused_like_those_of_the_source(tmp_path):
    file = write_rows(tmp_path / "f.jsonl", [{"text": f"{number}"} for number in range(9)])
    heldout = write_rows(tmp_path / "g.jsonl", [{"text": "x"}, {"text": 5}])
    report = report_of(file, validation=str(heldout))
    refused = "refused (data.rows.bad=drop leaves out)"
    assert troubles_of(report) == {"text must be a string": (refused, 1, ("g.jsonl:2",))}
    assert (report.train, report.heldout) == (9, 1)


def test_pairs_that_are_of_no_use_to_one_stage_are_told_with_its_name(tmp_path):
    rows = [{"prompt": "p", "chosen": "c", "rejected": f"r{number}"} for number in range(3)]
    rows += [{**row, "prompt": f"p{number}"} for number in range(20) for row in rows[:1]]
    report = report_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.4)
    assert troubles_of(report) == {
        "the same prompt and chosen response as an earlier pair": (
            "left out by sft",
            2,
            ("f.jsonl:2", "f.jsonl:3"),
        )
    }
    pairs = [{"chosen": f"c{number % 50}", "rejected": f"r{number}"} for number in range(200)]
    report = report_of(write_rows(tmp_path / "f.jsonl", pairs), validation_fraction=0.1)
    effects = {one.what: one.effect for one in report.troubles}
    assert effects["texts that are held out too"] == "left out by sft and ppo"


def test_a_prompt_that_is_said_again_is_told(tmp_path):
    rows = [
        {"prompt": "Who?", "chosen": "Who? I.", "rejected": "Who? You."},
        {"prompt": "Why?", "chosen": "So.", "rejected": "Who knows?"},
    ]
    report = report_of(write_rows(tmp_path / "f.jsonl", rows), validation_fraction=0.5)
    what, effect = "a response begins with the whole prompt", "kept, so the prompt is read twice"
    assert troubles_of(report) == {what: (effect, 1, ("f.jsonl:1",))}


def test_rows_that_have_less_than_most_are_a_problem(tmp_path):
    rows = [{"prompt": "a"}, *({"prompt": f"{n}", "response": "b"} for n in range(40))]
    report = report_of(write_rows(tmp_path / "f.jsonl", rows))
    assert report.format == "response"
    assert "must have the field 'response'" in troubles_of(report)


NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
)
ANSWERS_ALONE = (
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endif %}"
    "{% endfor %}"
)


@pytest.mark.parametrize(
    ("chat_template", "reason"),
    [
        (
            NO_SYSTEM,
            "the tokenizer's chat template must accept the turns system, user, assistant, received "
            "'no system turns'",
        ),
        (
            ANSWERS_ALONE,
            "the tokenizer's chat template must write what each turn says once, before the answer, "
            "received one that writes the system's words nowhere",
        ),
    ],
)
def test_prompts_that_a_chat_template_refuses_are_counted(
    tmp_path, tiny_tokenizer, chat_template, reason
):
    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    asked = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    system = {"role": "system", "content": "Be kind."}
    rows = [{"messages": asked}, {"messages": [system, *asked]}]
    file = write_rows(tmp_path / "f.jsonl", rows)
    report = report_of(
        file, tokenizer=str(tmp_path / "tokenizer"), template="chat", validation_fraction=0.5
    )
    assert troubles_of(report) == {reason: ("refused", 1, ("f.jsonl:2",))}
    assert (report.used, report.refused, report.untried) == (2, 1, False)
    shown = {example.place: dict(example.parts)["prompt"] for example in report.examples}
    assert "".join(piece.text for piece in shown["f.jsonl:1"]).startswith("<user>Why?</>")
    assert shown["f.jsonl:2"][0].text == "system: Be kind.\nuser: Why?"
