"""The rows of QA-Feedback: a question, four answers, what people marked in the first one.

Wu et al. 2023, "Fine-grained human feedback gives better rewards for language model training",
arXiv 2306.01693; github.com/allenai/FineGrainedRLHF, tasks/qa_feedback/data, one JSON row a line,
its error spans under `errors_in_output_0`.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from abcrl.config import InputError
from abcrl.data.files import open_file
from abcrl.data.tables import Problem

Row = Mapping[str, Any]

SEPARATOR: Final = "\n"
"""Between question and answer."""

FIELDS: Final = (
    "question",
    "passages",
    "gold",
    "outputs",
    "preferences",
    "errors_in_output_0",
    "corrected_output_0",
)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines, also gzipped.

    Raises:
        InputError: It cannot be read, holds no rows, or a row lacks one of `FIELDS`.
    """
    table = open_file(path.absolute())
    rows: list[Row] = []
    for number, row in table.rows:
        if isinstance(row, Problem):
            raise InputError(f"{table.at(number)}: {row}")
        missing = [field for field in FIELDS if field not in row]
        if missing:
            raise InputError(
                f"{table.at(number)}: must have the field {missing[0]} of QA-Feedback, received "
                f"{', '.join(row) or 'none'}; give qa_feedback_dev.jsonl.gz"
            )
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: must hold at least one row, received none; give another file")
    return rows


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Ends the program with exit code 2 where the input is at fault."""
    try:
        yield
    except InputError as error:
        sys.exit(_said(error))


def _said(error: InputError) -> int:
    print(error, file=sys.stderr)
    return 2
