"""What tests of the data room share: files of rows, and what is read of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from abcrl.config import DataConfig
from abcrl.data.files import open_file
from abcrl.data.formats import Use
from abcrl.data.left_out import Tallies
from abcrl.data.reading import Reading
from abcrl.data.records import Record


def write_rows(file: Path, rows: Sequence[object]) -> Path:
    """Writes JSON lines; a string is a line as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def config_of(file: Path, **options: object) -> DataConfig:
    """Returns the configuration of a file."""
    return DataConfig.model_validate({"source": str(file), **options})


def read_rows(file: Path, use: Use, **options: object) -> tuple[list[Record], dict[str, int]]:
    """Returns the records of a file, and how many rows were left out for which reason."""
    tallies = Tallies()
    reading = Reading(open_file(file), config_of(file, **options), use, tallies)
    records = [record for _, record in reading.records()]
    return records, {reason: found.count for reason, found in tallies.left_out.findings().items()}
