from pathlib import Path

import pytest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has written rows."""
    (tmp_path / "metrics.jsonl").write_text("12345 and more")
    return tmp_path
