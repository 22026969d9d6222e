"""A run that is interrupted says so, also when it had hardly begun or was just about to end."""

from pathlib import Path

import pytest
from filelock import FileLock

from abcrl.config import SftConfig, load_config
from abcrl.storage import RunFolder, read_status


@pytest.fixture
def config(tmp_path) -> SftConfig:
    return load_config(SftConfig, flags={"run.output": str(tmp_path / "run")})


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while the n-th file from now on is moved into place."""
    moves = iter(range(1, 100))
    replace = Path.replace

    def move(self: Path, target: Path) -> Path:
        if next(moves) == number:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", move)


@pytest.mark.parametrize("number", [1, 2, 3, 4])  # status, config, environment, status
def test_an_interrupt_while_files_are_written_is_on_record(config, tmp_path, monkeypatch, number):
    interrupt_at(number, monkeypatch)
    with pytest.raises(KeyboardInterrupt), RunFolder.create(tmp_path / "run", config, {}):
        pass
    assert read_status(tmp_path / "run") == "interrupted"
    assert list((tmp_path / "run").glob("*.tmp")) == []
    with FileLock(tmp_path / "run" / ".lock").acquire(timeout=0):
        pass
