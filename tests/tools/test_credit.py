"""`abcrl credit` as a whole: every mode on the tiny pipeline, in numbers that come out again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.analysis.quality.faithfulness import rank_correlation
from abcrl.config import CreditConfig, InputError, RewardMode, load_config
from abcrl.data import Example
from abcrl.densification import Evidence, assign_credit
from abcrl.models import load_reward_model
from abcrl.reporter import SilentReporter
from abcrl.stages.sft import run_sft
from abcrl.stages.train_rm import run_train_rm
from abcrl.storage import read_rows, read_status
from abcrl.tools.credit import CreditReport, run_credit
from abcrl.tools.texts import read_texts
from tests.conftest import TinyRuns
from tests.models.text.tokenizer_families import tokenizer_of

NO_POLICY = {"abc-d", "abc-d2"}


def config_of(runs: TinyRuns, **changes: object) -> CreditConfig:
    settings: dict[str, object] = {
        "reward_model": str(runs.reward_model),
        "data.limit": 300,
        "texts": 6,
        "reward.reference_responses": 20,
        "probe.steps": 4,
        "probe.random_orders": 2,
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(CreditConfig, flags={**settings, **named})


def measure(runs: TinyRuns, **changes: object) -> CreditReport:
    return run_credit(config_of(runs, **changes), SilentReporter())


@pytest.fixture(scope="module")
def written(tiny_runs: TinyRuns, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A report with a policy, and the folder of its numbers."""
    folder = tmp_path_factory.mktemp("credit") / "out"
    return measure(tiny_runs, policy=str(tiny_runs.policy), output=str(folder)), folder


def test_every_mode_is_measured(written: tuple[CreditReport, Path]):
    report, _ = written
    assert [one.mode for one in report.modes] == list(RewardMode)
    assert report.left_out == {}
    by_mode = {one.mode.value: one for one in report.modes}
    tokens = by_mode["uniform"].spread.tokens
    assert by_mode["uniform"].spread.causal_share == pytest.approx(
        by_mode["uniform"].spread.causal_token_share
    )
    assert by_mode["rlhf"].spread.last_token_share == 1
    assert by_mode["rlhf"].spread.effective_tokens == 1
    assert 1 < by_mode["abc"].spread.effective_tokens < tokens
    assert by_mode["shuffled"].spread.entropy == pytest.approx(by_mode["abc"].spread.entropy)
    for one in report.modes:
        assert one.spread.texts == one.faithfulness.responses == 6
        assert one.fallback_rate == 0


def test_the_rows_are_the_report(written: tuple[CreditReport, Path], tiny_runs: TinyRuns):
    report, folder = written
    rows = read_rows(folder, "texts")
    assert read_status(folder) == "finished"
    assert len(rows) == 6
    reward_model, _ = load_reward_model(str(tiny_runs.reward_model), "reward_model")
    for row in rows:
        ids = torch.tensor([row["ids"]])
        whole = torch.ones_like(ids, dtype=torch.bool)
        output = reward_model.score(ids, whole, with_attention=True)
        assert output.attention is not None
        assert row["score"] == pytest.approx(float(output.scores[0]), abs=1e-5)
        credit, _ = assign_credit(
            "abc", Evidence(whole[:, 1:], reward_attention=output.attention[:, 1:])
        )
        assert row["credit"]["abc"] == pytest.approx(credit[0].tolist(), abs=1e-5)
        without = torch.cat([ids[:, :3], ids[:, 4:]], dim=1)
        drop = output.scores - reward_model.score(without, whole[:, 1:]).scores
        assert row["drops"][2] == pytest.approx(float(drop[0]), abs=1e-5)
        parts, drops = torch.tensor(row["credit"]["red"]), torch.tensor(row["drops"])
        assert row["faithfulness"]["red"]["correlation"] == pytest.approx(
            rank_correlation(parts, drops, signed=True), abs=1e-6
        )
        start = reward_model.score(ids[:, :1], whole[:, :1]).scores
        # What the first token scores alone, no later token has earned.
        assert parts.sum() == pytest.approx(row["score"] - float(start[0]), abs=1e-4)
        for mode in set(row["credit"]) - {"red"}:
            assert sum(row["credit"][mode]) == pytest.approx(1, abs=1e-5)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["modes"][0]["spread"]["entropy"] == report.modes[0].spread.entropy


def test_the_same_call_gives_the_same_bytes(
    written: tuple[CreditReport, Path], tiny_runs: TinyRuns, tmp_path: Path
):
    _, folder = written
    torch.manual_seed(7)
    measure(tiny_runs, policy=str(tiny_runs.policy), output=str(tmp_path / "again"))
    for name in ("texts.jsonl", "summary.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_text_is_measured_alike_beside_others(
    written: tuple[CreditReport, Path], tiny_runs: TinyRuns, tmp_path: Path
):
    _, folder = written
    modes = ["abc", "red", "uniform"]
    measure(tiny_runs, texts=3, modes=modes, output=str(tmp_path / "few"))
    all_rows = {row["text"]: row for row in read_rows(folder, "texts")}
    few = read_rows(tmp_path / "few", "texts")
    assert set(few[0]["credit"]) == set(modes)
    for row in few:
        other = all_rows[row["text"]]
        assert row["drops"] == pytest.approx(other["drops"], abs=1e-4)
        for mode in modes:
            assert row["credit"][mode] == pytest.approx(other["credit"][mode], abs=1e-4)


def test_without_a_policy_its_modes_are_left_out_and_say_why(tiny_runs: TinyRuns):
    report = measure(tiny_runs)
    assert set(report.left_out) == NO_POLICY
    assert all("--policy" in reason for reason in report.left_out.values())
    assert {one.mode.value for one in report.modes} == set(RewardMode) - NO_POLICY
    assert report.folder is None


def test_a_policy_with_other_tokens_gets_the_credit_in_its_own(
    tiny_runs: TinyRuns, make_tiny_runs: Any, tmp_path: Path
):
    run_sft(tiny_runs.sft(tmp_path / "sft", model__vocab_size=330), SilentReporter())
    policy = str(tmp_path / "sft" / "final")
    report = measure(tiny_runs, policy=policy, output=str(tmp_path / "out"))
    assert set(report.left_out) == {"red"}
    for row in read_rows(tmp_path / "out", "texts"):
        assert len(row["credit"]["abc"]) == len(row["drops"]) == len(row["ids"]) - 1
        assert sum(row["credit"]["abc"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modes": ["abc", "abc-d"]}, "policy: must be given for reward mode abc-d"),
        ({"max_length": 500}, "max_length: must fit the models' context of 96 tokens"),
        ({"reward_model": "/absent"}, "reward_model: must be a model folder"),
        ({"policy": "/absent"}, "policy: must be a model folder"),
        ({"reward__layer": 9}, "reward.layer: must be from"),
        ({"modes": ["abcd"]}, "modes.0"),
        ({"modes": []}, "modes"),
        ({"score__template": "chat"}, "score.template"),
        ({"data__source": "/absent.csv"}, "data.source"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    tiny_runs: TinyRuns, tmp_path: Path, changes, field
):
    changes = {"modes": ["abc"], "output": str(tmp_path / "out"), **changes}
    with pytest.raises(InputError, match=field):
        measure(tiny_runs, **changes)
    assert not (tmp_path / "out").exists()


def test_texts_that_the_tokenizer_has_no_token_for_are_left_out():
    tokenizer = tokenizer_of("wordpiece")
    examples = [Example("The plot"), Example("\u200d"), Example("was good"), Example("\x01\x02")]
    texts = read_texts(examples, tokenizer, 64)
    assert [example.text for example in texts.examples] == ["The plot", "was good"]
    assert all(len(row.ids) >= 3 for row in texts.rows)
    with pytest.raises(InputError, match=r"data\.source: .* received 1 of 3"):
        read_texts(examples[1:], tokenizer, 64)


def test_texts_are_read_only_as_far_as_both_models_read_them(tiny_runs: TinyRuns, tmp_path: Path):
    # The reward model has shorter tokens than the policy, and the same context.
    sft, reward = tmp_path / "sft", tmp_path / "rm"
    run_sft(tiny_runs.sft(sft, model__vocab_size=300), SilentReporter())
    model = str(sft / "final")
    run_train_rm(tiny_runs.train_rm(reward, model=model), SilentReporter())
    report = measure(
        tiny_runs,
        policy=str(tiny_runs.policy),
        reward_model=str(reward / "final"),
        output=str(tmp_path / "out"),
    )
    assert report.shortened == 6
    for row in read_rows(tmp_path / "out", "texts"):
        assert sum(drop == 0 for drop in row["drops"]) <= 1
        assert row["credit"]["abc"][0] > 0


def test_an_existing_folder_is_left_alone(tiny_runs: TinyRuns, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"^output: the folder must not exist yet"):
        measure(tiny_runs, output=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
