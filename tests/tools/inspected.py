"""What tests of inspection share: the report on a file, and what it finds wrong."""

from pathlib import Path

from abcrl.config import InspectConfig
from abcrl.tools.inspection import Inspection, inspect_source


def report_of(file: Path | str, **options: object) -> Inspection:
    """Returns the report on a file; options without a group are of the data."""
    top = {key: options.pop(key) for key in ("tokenizer", "examples") if key in options}
    return inspect_source(
        InspectConfig.model_validate({"data": {"source": str(file), **options}, **top})
    )


def troubles_of(report: Inspection) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {one.what: (one.effect, one.found.count, one.found.places) for one in report.troubles}
