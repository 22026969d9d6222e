"""Texts from QA-Feedback for a small reward model, divided by question.

Of three fifths of the questions, chosen by a hash: `sft.jsonl` (passages, and questions with all
their answers) and `labelled.jsonl` (question and answer; label 1 where people preferred the answer
more often than they preferred another to it, 0 where less often). The rows of the other questions
go to `heldout.jsonl` as they are: for `credit_on_spans.py`.

Run: python make_texts.py --data qa_feedback_dev.jsonl.gz --output FOLDER
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from answers import SEPARATOR, Row, fail_in_one_line, read_rows

from abcrl.config import stream_seed


def is_heldout(row: Row) -> bool:
    """Whether the question is kept from training: two in five are."""
    return stream_seed(0, "qa-feedback", row["question"]) % 5 < 2


def sft_texts(row: Row) -> Iterator[str]:
    """Yield what a language model can learn from a question: passages and answers."""
    for title, *sentences in row["passages"]:
        yield "\n".join([title, " ".join(sentences)])
    for answer in {row["gold"], row["corrected_output_0"], *row["outputs"]}:
        yield row["question"] + SEPARATOR + answer


def labelled_texts(row: Row) -> Iterator[tuple[str, int]]:
    """Yield each answer that won or lost more comparisons than not, and which of the two."""
    balance = [0] * len(row["outputs"])
    for first, second, preferred in row["preferences"]:
        if preferred is not None:
            balance[preferred] += 1
            balance[second if preferred == first else first] -= 1
    for answer, wins in zip(row["outputs"], balance, strict=True):
        if wins:
            yield row["question"] + SEPARATOR + answer, int(wins > 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description="Texts for a small reward model, by question.")
    parser.add_argument("--data", type=Path, required=True, help="qa_feedback_dev.jsonl[.gz]")
    parser.add_argument("--output", type=Path, required=True, help="folder for the three files")
    settings = parser.parse_args(arguments)
    rows = read_rows(settings.data)
    training = [row for row in rows if not is_heldout(row)]
    texts = [text for row in training for text in sorted(sft_texts(row))]
    labelled = [pair for row in training for pair in labelled_texts(row)]
    files: dict[str, Sequence[Row]] = {
        "sft": [{"text": text} for text in texts],
        "labelled": [{"text": text, "label": label} for text, label in labelled],
        "heldout": [row for row in rows if is_heldout(row)],
    }
    settings.output.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        written = "".join(json.dumps(line) + "\n" for line in lines)
        (settings.output / f"{name}.jsonl").write_text(written)
        print(f"{name}.jsonl: {len(lines)} rows")


if __name__ == "__main__":
    with fail_in_one_line():
        main()
