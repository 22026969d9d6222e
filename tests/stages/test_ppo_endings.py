"""How a PPO run ends otherwise than well, and what it says on the way."""

import json

import pytest

from abcrl.config import InputError, RunFailedError, to_yaml
from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_reason, read_rows, read_status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"response__cap_high": 90},
            "response.cap_high: prompt and response must fit the context of policy, 96 tokens, "
            "received 97 in all; lower response.cap_high",
        ),
        ({"data__source": "/no/such.csv"}, "data.source: the file must exist, received /no/such"),
        ({"run__device": "cuda:77"}, "device: must be there, received cuda:77"),
        ({"policy": "/absent"}, "policy: must be a model folder with a config.json"),
        ({"reward_model": "/absent"}, "reward_model: must be a model folder with a config.json"),
    ],
)
def test_ppo_refuses_what_cannot_work_before_it_writes(tiny_runs, tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        run_ppo(tiny_runs.ppo(tmp_path / "run", **changes), SilentReporter())
    assert str(caught.value).startswith(said)
    assert not (tmp_path / "run").exists()


def test_prompts_that_no_text_can_give_are_an_input_error(tiny_runs, tmp_path):
    config = tiny_runs.ppo(tmp_path / "run", prompt__min_characters=100_000)
    with pytest.raises(InputError, match=r"prompt\.min_characters: some text must be longer"):
        run_ppo(config, SilentReporter())
    assert not (tmp_path / "run").exists()


def test_a_failure_inside_the_run_is_recorded_and_what_was_written_stays(tiny_runs, tmp_path):
    folder = tmp_path / "run"
    config = tiny_runs.ppo(folder, ppo__learning_rate=1e30)
    with pytest.raises(RunFailedError, match=r"^step 1: \w+ is nan"):
        run_ppo(config, SilentReporter())
    assert read_status(folder) == "failed"
    assert read_reason(folder).endswith("lower ppo.learning_rate or set ppo.max_grad_norm")
    assert [row["step"] for row in read_rows(folder, "metrics")] == [0]
    assert len(read_rows(folder, "samples")) == 2
    assert (folder / "config.yaml").read_text() == to_yaml(config)
    assert json.loads((folder / "environment.json").read_text())["device"]
    assert not (folder / "final").exists()


class Interrupting(SilentReporter):
    def advance(self, done, numbers):  # noqa: ARG002
        raise KeyboardInterrupt


def test_an_interrupted_run_says_so_and_keeps_its_rows(tiny_runs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_ppo(tiny_runs.ppo(tmp_path / "run"), Interrupting())
    assert read_status(tmp_path / "run") == "interrupted"
    assert [row["step"] for row in read_rows(tmp_path / "run", "metrics")] == [0, 1]


class Recording(SilentReporter):
    def __init__(self) -> None:
        self.calls: list[tuple[object, object]] = []

    def start(self, what, total):
        self.calls.append((what, total))

    def advance(self, done, numbers):
        self.calls.append((done, sorted(numbers)))


def test_progress_is_reported_step_by_step(tiny_runs, tmp_path):
    reporter = Recording()
    run_ppo(tiny_runs.ppo(tmp_path / "run", steps=2), reporter)
    assert reporter.calls == [
        ("PPO", 2),
        (1, ["KL", "score", "tokens/s"]),
        (2, ["KL", "score", "tokens/s"]),
    ]
