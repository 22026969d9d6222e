"""What tests of stages share: comparisons that are planned, runs that were stopped."""

import multiprocessing.forkserver
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abcrl.config import CompareConfig, PpoConfig, to_yaml
from abcrl.grid.server import choose_context
from abcrl.stages.ppo import run_ppo
from tests.given_prompts import Models, make_models, run_on_prompts
from tests.stages.comparisons import Listening, on
from tests.stages.resuming import RESUMED
from tests.stages.stopped_runs import Stopping

_WORK = ("tests.stages.resuming", "tests.stages.supervised_resuming")
_known_servers: set[int] = set()


@pytest.fixture(scope="module")
def fork_server() -> None:
    """Workers are forked from a server that knows torch and the stages."""
    # A server that other tests started has not imported them: each worker would, for seconds. The
    # first one of these tests serves all of them.
    server: Any = multiprocessing.forkserver._forkserver
    if server._forkserver_pid in _known_servers:
        return
    server._stop()
    choose_context(["abcrl.grid.worker", *_WORK])
    _known_servers.add(server._forkserver_pid)


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


@pytest.fixture(scope="module")
def models(tiny_causal_lm, tiny_classifier, tmp_path_factory) -> Models:
    return make_models(tiny_causal_lm, tiny_classifier, tmp_path_factory.mktemp("models"))


@pytest.fixture
def on_prompts(models: Models, tmp_path: Path) -> Callable[..., PpoConfig]:
    """on_prompts(source, name="run", **changes): a run of three steps on data that give prompts."""
    return partial(run_on_prompts, models, tmp_path)


@pytest.fixture(scope="module")
def configure(tiny_runs) -> Callable[..., PpoConfig]:
    return lambda folder, **changes: tiny_runs.ppo(folder, **{**RESUMED, **changes})


@pytest.fixture(scope="module")
def finished(configure, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("resume") / "finished"
    run_ppo(configure(folder), Listening())
    return folder


@pytest.fixture(scope="module")
def stopped_once(configure, tmp_path_factory) -> Path:
    """A run that was stopped after step 3: checkpoints of steps 2 and 3."""
    folder: Path = tmp_path_factory.mktemp("resume") / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run_ppo(configure(folder), Stopping(3))
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path) -> Path:
    """A copy of it, elsewhere."""
    return Path(shutil.copytree(stopped_once, tmp_path / "stopped"))
