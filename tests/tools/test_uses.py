"""What inspection says that each command would read of a source."""

import pytest

from tests.data.rows import write_rows
from tests.tools.inspected import report_of


@pytest.mark.parametrize(
    ("row", "format_", "reads"),
    [
        (
            {"text": "a", "label": 1},
            "text",
            [
                "whole texts (text)",
                "whole texts (text, label)",
                "nothing: it needs chosen and rejected",
                "prompts cut from the texts (text)",
            ],
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            "pairs",
            [
                "chosen responses, with their prompts (prompt, chosen)",
                "nothing: it needs messages; or prompt and response; or text; each with label",
                "pairs (prompt, chosen, rejected)",
                "prompts (prompt)",
            ],
        ),
        (
            {"chosen": "b", "rejected": "c", "margin": 1},
            "pairs",
            [
                "whole chosen texts (chosen)",
                "nothing: it needs messages; or prompt and response; or text; each with label",
                "pairs (chosen, rejected)",
                "prompts cut from the chosen texts (chosen)",
            ],
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "pairs",
            [
                "chosen responses, with the prompts that both sides begin with (chosen, rejected)",
                "nothing: it needs messages; or prompt and response; or text; each with label",
                "pairs, with the prompt that both sides begin with (chosen, rejected)",
                "prompts that both sides begin with (chosen, rejected)",
            ],
        ),
        (
            {"prompt": "a"},
            "prompt",
            [
                "nothing: it needs chosen and rejected; or messages; or prompt and response; or "
                "text",
                "nothing: it needs messages; or prompt and response; or text; each with label",
                "nothing: it needs chosen and rejected",
                "prompts (prompt)",
            ],
        ),
    ],
)
def test_what_each_command_reads_is_said(tmp_path, row, format_, reads):
    report = report_of(write_rows(tmp_path / "f.jsonl", [row]))
    assert report.format == format_
    assert list(report.uses.values()) == reads
    assert list(report.uses) == ["sft", "train-rm, classifier", "train-rm, bradley-terry", "ppo"]
