"""A comparison on a Ray cluster leaves what it leaves here, whatever happens to the nodes."""

from pathlib import Path
from typing import Any

import pytest

from abcrl.config import CompareConfig, InputError, plan_cells
from abcrl.reporter import SilentReporter
from abcrl.stages.compare import run_compare
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_status
from tests.grid.clusters import two_nodes
from tests.stages.comparisons import ARMS, Listening, cells, configure, on
from tests.stages.stopped_runs import Stopping

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]

STAGE_NAMES = ("sft", "train_rm", "ppo")
# Long enough to be seen under way: what a node has written is sent every two seconds.
LONGER: dict[str, Any] = {
    "ppo__steps": 24,
    "ppo__evaluation__interval": 8,
    "ppo__checkpoint__interval": 5,
    "seeds": [0, 1, 2],
}


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def here(tiny_runs, tmp_path_factory) -> CompareConfig:
    """Three seeds of two arms, run by local processes."""
    config = on(tiny_runs, tmp_path_factory.mktemp("compare") / "here", **LONGER)
    run_compare(config, SilentReporter())
    return config


def on_ray(cluster: Any, **changes: Any) -> dict[str, Any]:
    return {"grid__jobs": None, "grid__engine": "ray", "grid__address": cluster.address, **changes}


def content(config: CompareConfig) -> dict[str, bytes]:
    """What must not depend on the engine: all but times, logs, and the place of the folder."""
    root = Path(config.output)
    names = ("metrics.jsonl", "samples.jsonl", "status.json", "config.yaml")
    files = [folder / name for folder in cells(config).values() for name in names]
    files += [path for folder in cells(config).values() for path in (folder / "final").iterdir()]
    files += [root / "results.csv", root / "summary.json"]
    place = str(root).encode()
    return {str(path.relative_to(root)): _unwrapped(path, place) for path in files}


def _unwrapped(path: Path, place: bytes) -> bytes:
    data = path.read_bytes()
    if path.name != "config.yaml":
        return data
    return b" ".join(data.split()).replace(place, b"<output>")  # YAML folds long paths


class RemovingANode(Listening):
    """Takes a node away when half of the cells are done and both nodes are at work."""

    def __init__(self, cluster: Any, half: int) -> None:
        super().__init__()
        self._cluster = cluster
        self._half = half
        self.removed = False

    def advance(self, done, numbers):  # noqa: ARG002
        ready = numbers.get("finished", 0) >= self._half and numbers.get("running") == 2
        if ready and not self.removed:
            self.removed = True
            [node] = self._cluster.worker_nodes
            self._cluster.remove_node(node, allow_graceful=False)


def test_a_node_that_goes_away_changes_nothing(tiny_runs, here, tmp_path):
    lost = 0
    for attempt in range(4):  # what the node had at work may have come back in that instant
        with two_nodes() as nodes:
            config = on(tiny_runs, tmp_path / f"there-{attempt}", **LONGER, **on_ray(nodes))
            reporter = RemovingANode(nodes, half=3)
            run_compare(config, reporter)
        assert reporter.removed
        assert content(config) == content(here)
        assert [path for path in Path(config.output).rglob(".*") if path.name != ".lock"] == []
        logs = [path.read_text() for path in (Path(config.output) / "logs").iterdir()]
        lost = sum("lost with" in log for log in logs)
        if lost:
            break
    assert lost == 1


class StoppingLater(Listening):
    """As Ctrl-C does, when a cell is under way."""

    def advance(self, done, numbers):
        if numbers.get("running") and done % 24 >= 3:
            raise KeyboardInterrupt


def test_a_stopped_comparison_comes_back_and_goes_on_here(tiny_runs, cluster, here, tmp_path):
    config = on(tiny_runs, tmp_path / "there", **LONGER, **on_ray(cluster))
    with pytest.raises(KeyboardInterrupt):
        run_compare(config, StoppingLater())
    states = [read_status(folder) for folder in cells(config).values()]
    assert "interrupted" in states
    assert set(states) <= {"interrupted", "finished", None}
    local = on(tiny_runs, tmp_path / "there", **LONGER)
    reporter = Listening()
    run_compare(local, reporter)
    assert any("unfinished (interrupted), goes on from step-" in text for text in reporter.messages)
    logs = "".join(path.read_text() for path in (tmp_path / "there" / "logs").iterdir())
    assert "resumed from step" in logs
    assert "starts at step 0" not in logs
    assert content(local) == content(here)


def test_a_cell_that_was_cut_off_here_goes_on_there(tiny_runs, cluster, here, tmp_path):
    folder = tmp_path / "compare"
    cut_off = plan_cells(on(tiny_runs, folder, **LONGER))[0].run
    with pytest.raises(KeyboardInterrupt):
        run_ppo(cut_off, Stopping(2))
    config = on(tiny_runs, folder, **LONGER, **on_ray(cluster))
    run_compare(config, SilentReporter())
    log = (folder / "logs" / "abc-seed-0.txt").read_text()
    assert "abcrl: resumed from step 2\n" in log
    assert content(config) == content(here)


def test_models_and_data_of_this_machine_reach_the_nodes(cluster, tmp_path):
    """SFT, reward model and cells read a file that the nodes know under another name."""
    rows = "".join(f"a text of number {number} and so on,{number % 2}\n" for number in range(300))
    (tmp_path / "texts.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    data: dict[str, Any] = {
        f"{stage}__data__source": str(tmp_path / "texts.csv") for stage in STAGE_NAMES
    }
    data |= {f"{stage}__data__labels": ["0", "1"] for stage in STAGE_NAMES}
    options = {**data, "seeds": [0], "arms": ARMS[:1], "ppo__prompt__max_tokens": 8}
    here = configure(tmp_path / "here", **options)
    there = configure(tmp_path / "there", **options, **on_ray(cluster))
    run_compare(here, SilentReporter())
    run_compare(there, SilentReporter())
    assert content(there) == content(here)
    for name in ("sft", "reward-model"):
        first, second = (Path(one.output) / name for one in (here, there))
        for file in ("metrics.jsonl", "final/model.safetensors", "final/tokenizer.json"):
            assert (first / file).read_bytes() == (second / file).read_bytes(), (name, file)
        assert read_status(second) == "finished"


def test_a_failing_cell_and_a_refused_one_are_what_they_are_here(tiny_runs, cluster, tmp_path):
    failing = {"seeds": [0], "ppo__ppo__learning_rate": 1e30}
    refused = {"seeds": [0], "ppo__response__cap_high": 90}
    for name, changes in (("failing", failing), ("refused", refused)):
        reasons = {}
        for engine in ("here", "there"):
            options = on_ray(cluster) if engine == "there" else {}
            config = on(tiny_runs, tmp_path / f"{engine}-{name}", **changes, **options)
            result = run_compare(config, SilentReporter())
            reasons[engine] = [
                (cell.arm, cell.status, cell.reason) for cell in result.summary.failed
            ]
        assert len(reasons["here"]) == 2
        place = str(tmp_path)
        assert str(reasons["there"]).replace(f"{place}/there-", f"{place}/here-") == str(
            reasons["here"]
        )


def test_what_a_cluster_needs_is_refused_before_anything_is_written(tiny_runs, cluster, tmp_path):
    options = on_ray(cluster, grid__address="127.0.0.1:9")
    with pytest.raises(InputError, match=r"^grid.address: must be HOST:PORT of a Ray cluster"):
        run_compare(on(tiny_runs, tmp_path / "compare", **options), SilentReporter())
    assert not (tmp_path / "compare").exists()
