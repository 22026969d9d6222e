"""Runs that were stopped, and what they hold when they are not gone on with."""

from pathlib import Path

import pytest

from abcrl.config import InputError, PpoConfig
from tests.stages.comparisons import Listening
from tests.stages.resuming import go_on


class Stopping(Listening):
    """Asks the run to stop after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def advance(self, done, numbers):  # noqa: ARG002
        if done == self._step:
            raise KeyboardInterrupt


def content(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def refused(config: PpoConfig, **options: object) -> str:
    """Says why a run is not gone on with; not a byte of it is changed then."""
    before = content(Path(config.run.output))
    with pytest.raises(InputError) as caught:
        go_on(config, **options)
    assert content(Path(config.run.output)) == before
    return str(caught.value)
