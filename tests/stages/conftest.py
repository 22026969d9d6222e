"""What tests of comparisons share."""

import multiprocessing.forkserver

import pytest

from abcrl.config import CompareConfig, to_yaml
from tests.stages.comparisons import on


@pytest.fixture(scope="module")
def new_fork_server() -> None:
    """Workers are forked from a server that knows torch."""
    # A server that earlier tests started has not imported the stages: each worker would, for
    # seconds. The next grid starts another.
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def quick(tiny_runs, tmp_path):
    """Two arms, one seed, on models that exist already: planned, not run."""
    return on(tiny_runs, tmp_path / "compare", seeds=[0])


@pytest.fixture
def app_main(capfd, tmp_path):
    """main(config, *flags): the command in this process, its exit code and what it printed."""
    from importlib.metadata import entry_points

    [script] = entry_points(group="console_scripts", name="abcrl")
    app = script.load()

    def main(config: CompareConfig, *flags: str) -> tuple[int, str]:
        (tmp_path / "saved.yaml").write_text(to_yaml(config))
        with pytest.raises(SystemExit) as caught:
            app(["compare", "--config", str(tmp_path / "saved.yaml"), *flags])
        assert isinstance(caught.value.code, int)
        return caught.value.code, capfd.readouterr().out

    return main
