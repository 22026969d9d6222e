"""`abcrl eval` as a whole, on runs of the tiny pipeline: the same numbers as PPO's own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from abcrl.analysis.quality.prompt_samples import win_rate
from abcrl.config import EvalConfig, InputError, load_config
from abcrl.data.toy import gold_score
from abcrl.reporter import SilentReporter
from abcrl.rl.sampling.sampler import SharedDraws
from abcrl.stages.ppo import run_ppo
from abcrl.stages.sft import run_sft
from abcrl.storage import read_last_row, read_rows, read_status
from abcrl.tools.evaluated_runs import settings_of
from abcrl.tools.evaluation import EvalReport, run_eval
from abcrl.tools.evaluation_sources import EvaluationSources
from tests.conftest import TinyRuns

CPU = torch.device("cpu")


def config_of(policy: Path, *, against: Path | None = None, **changes: object) -> EvalConfig:
    defaults, named = settings_of(str(policy), None if against is None else str(against))
    flags = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(EvalConfig, flags={**named, **flags}, defaults=defaults)


def evaluate(policy: Path, **changes: object) -> EvalReport:
    return run_eval(config_of(policy, **changes), SilentReporter())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(
    tiny_ppo_runs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[EvalReport, Path]:
    """A run against its SFT model, three responses to each prompt, and the folder of it."""
    folder = tmp_path_factory.mktemp("eval") / "out"
    return evaluate(tiny_ppo_runs["abc"], samples=3, output=str(folder)), folder


def test_the_report_is_made_of_the_samples(written: tuple[EvalReport, Path]):
    report, folder = written
    rows = read_rows(folder, "samples")
    assert read_status(folder) == "finished"
    assert (report.prompts, report.samples, len(rows)) == (4, 3, 24)
    scores = {
        side: [
            [row["score"] for row in rows if (row["side"], row["prompt_index"]) == (side, index)]
            for index in range(4)
        ]
        for side in ("policy", "against")
    }
    ours, theirs = (torch.tensor(scores[side]).double() for side in ("policy", "against"))
    assert report.policy.summary.score.mean == pytest.approx(float(ours.mean()))
    error = float(ours.mean(1).std() / 2)
    assert report.policy.summary.score.standard_error == pytest.approx(error)
    assert report.difference is not None
    assert report.difference.score.value == pytest.approx(float((ours - theirs).mean()), abs=1e-6)
    assert report.difference.win_rate == win_rate(scores["policy"], scores["against"])
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["difference"]["score"]["low"] == report.difference.score.low
    assert summary["policy"]["summary"]["kl_exact"]["mean"] > 0.01


def test_samples_say_what_is_known_of_each_response(written: tuple[EvalReport, Path]):
    rows = read_rows(written[1], "samples")
    for row in rows:
        assert row["gold_score"] == pytest.approx(gold_score(row["prompt"] + row["response"]))
        assert row["kl_exact"] >= -1e-6
    # Several responses to a prompt are several draws, and both sides share them.
    ids = {(row["side"], row["prompt_index"], row["sample"]): row["response_ids"] for row in rows}
    assert len({tuple(ids["against", 0, number]) for number in range(3)}) == 3
    assert all(
        row["prompt_ids"] == other["prompt_ids"]
        for row, other in zip(rows[:12], rows[12:], strict=True)
    )


def test_the_sft_model_has_no_kl_to_itself(written: tuple[EvalReport, Path]):
    report, _ = written
    assert report.against is not None
    assert report.against.summary.kl_exact is not None
    assert report.against.summary.kl_exact.mean == 0
    assert report.against.trained_with == report.policy.trained_with == ()


def test_the_same_call_gives_the_same_bytes(
    written: tuple[EvalReport, Path], tiny_ppo_runs: Mapping[str, Path], tmp_path: Path
):
    torch.manual_seed(3)
    evaluate(tiny_ppo_runs["abc"], samples=3, output=str(tmp_path / "again"))
    for name in ("samples.jsonl", "summary.json"):
        assert (tmp_path / "again" / name).read_bytes() == (written[1] / name).read_bytes()


def test_the_configuration_of_the_folder_repeats_it(
    written: tuple[EvalReport, Path], tmp_path: Path
):
    file = written[1] / "config.yaml"
    config = load_config(EvalConfig, file=file, flags={"output": str(tmp_path / "again")})
    run_eval(config, SilentReporter())
    again = (tmp_path / "again" / "samples.jsonl").read_bytes()
    assert again == (written[1] / "samples.jsonl").read_bytes()


def test_batches_do_not_matter(
    written: tuple[EvalReport, Path], tiny_ppo_runs: Mapping[str, Path], tmp_path: Path
):
    evaluate(tiny_ppo_runs["abc"], samples=3, batch_size=3, output=str(tmp_path / "out"))
    rows, others = (read_rows(folder, "samples") for folder in (written[1], tmp_path / "out"))
    for row, other in zip(rows, others, strict=True):
        assert row["response_ids"] == other["response_ids"]
        assert row["score"] == pytest.approx(other["score"], abs=1e-5)


def test_more_samples_begin_with_the_same_ones(
    written: tuple[EvalReport, Path], tiny_ppo_runs: Mapping[str, Path], tmp_path: Path
):
    report = evaluate(tiny_ppo_runs["abc"], samples=1, output=str(tmp_path / "out"))
    assert report.difference is not None
    assert report.difference.win_rate is None
    firsts = [row for row in read_rows(written[1], "samples") if row["sample"] == 0]
    assert read_rows(tmp_path / "out", "samples") == firsts
    other = evaluate(tiny_ppo_runs["abc"], samples=1, seed=1)
    assert other.policy.summary.score != report.policy.summary.score


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"networks__lora": {"rank": 2}},
        {"networks__value_model": "separate"},
    ],
    ids=["shared", "LoRA", "separate"],
)
def test_a_saved_policy_is_judged_as_the_run_judged_it(
    tiny_runs: TinyRuns, tmp_path: Path, changes
):
    ppo = tiny_runs.ppo(tmp_path / "run", ppo__learning_rate=5e-3, **changes)
    run_ppo(ppo, SilentReporter())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    config = config_of(tmp_path / "run", samples=1)
    sources = EvaluationSources.load(config, CPU, SilentReporter().message)
    [evaluator] = sources.evaluators(config, SilentReporter().message)
    # The run's own stream in the place of this one: the rest must come out the same.
    draws = SharedDraws(config.response, seed=ppo.run.seed, stream="evaluation")
    metrics, _ = replace(evaluator, draws=draws).evaluate(sources.sides["policy"])
    last = read_last_row(tmp_path / "run", "metrics")
    assert last is not None
    own = {name: value for name, value in last.items() if name.startswith("eval/")}
    assert metrics.keys() == own.keys()
    assert metrics == pytest.approx(own, abs=1e-4)
    assert own["eval/kl_exact"] > 0.01
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_is_held_against_another_run(tiny_ppo_runs: Mapping[str, Path], tiny_runs: TinyRuns):
    abc, rlhf = tiny_ppo_runs["abc"], tiny_ppo_runs["rlhf"]
    report = evaluate(abc, against=rlhf)
    mirrored = evaluate(rlhf, against=abc)
    assert report.against is not None
    assert report.against.model == str(rlhf / "final")
    assert report.against.summary == mirrored.policy.summary
    assert report.difference is not None
    assert mirrored.difference is not None
    assert report.difference.score.value == pytest.approx(-mirrored.difference.score.value)
    itself = evaluate(abc, against=abc)
    assert itself.difference is not None
    assert itself.difference.score.low == itself.difference.score.high == 0
    assert itself.difference.win_rate is not None
    assert itself.difference.win_rate.value == 0.5


def test_a_model_without_a_run_has_no_kl_and_nothing_beside_it(tiny_runs: TinyRuns):
    config = load_config(
        EvalConfig,
        flags={
            "policy": str(tiny_runs.policy),
            "reward_model": str(tiny_runs.reward_model),
            "data.limit": 300,
            "prompt.min_characters": 0,
            "samples": 2,
        },
    )
    report = run_eval(config, SilentReporter())
    assert report.policy.summary.kl_exact is None
    assert (report.against, report.difference, report.folder) == (None, None, None)


def test_a_small_corpus_gives_fewer_prompts_and_says_so(tiny_ppo_runs: Mapping[str, Path]):
    class Listening(SilentReporter):
        def __init__(self) -> None:
            self.messages: list[str] = []

        def message(self, text: str) -> None:
            self.messages.append(text)

    reporter = Listening()
    report = run_eval(config_of(tiny_ppo_runs["abc"], prompts=400, samples=1), reporter)
    assert report.prompts == 17
    [message] = reporter.messages
    assert message.startswith("evaluation: 17 held-out prompts instead of 400: no more held-out")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reward_model": "/absent"}, "reward_model: must be a model folder"),
        ({"against": "/absent"}, "against: must be a model folder"),
        ({"reference": "/absent"}, "reference: must be a model folder"),
        ({"response__cap_low": 95, "response__cap_high": 95}, "response.cap_high: .* of policy"),
        ({"data__source": "/absent.csv"}, "data.source"),
        ({"prompt__min_characters": 10_000}, "prompt.min_characters"),
        ({"precision": "bf16"}, "precision: must be float32 on this device"),
        ({"score__template": "chat"}, "score.template"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    tiny_ppo_runs: Mapping[str, Path], tmp_path: Path, changes, field
):
    config = config_of(tiny_ppo_runs["abc"], output=str(tmp_path / "out"), **changes)
    with pytest.raises(InputError, match=f"^{field}"):
        run_eval(config, SilentReporter())
    assert not (tmp_path / "out").exists()


def test_models_of_other_tokens_are_refused(
    tiny_runs: TinyRuns, tiny_ppo_runs: Mapping[str, Path], tmp_path: Path
):
    run_sft(tiny_runs.sft(tmp_path / "sft", model__vocab_size=330), SilentReporter())
    model = tmp_path / "sft" / "final"
    with pytest.raises(InputError, match=r"^against: must have the tokenizer of the policy"):
        evaluate(tiny_ppo_runs["abc"], against=model)
    with pytest.raises(InputError, match=r"^reference: must have the tokenizer of the policy"):
        evaluate(tiny_ppo_runs["abc"], reference=str(model))


def test_prompts_are_those_of_the_runs_own_evaluation(
    written: tuple[EvalReport, Path], tiny_ppo_runs: Mapping[str, Path]
):
    own = read_rows(tiny_ppo_runs["abc"], "samples")
    first: dict[int, list[int]] = {row["prompt_index"]: row["prompt_ids"] for row in own}
    found = {row["prompt_index"]: row["prompt_ids"] for row in read_rows(written[1], "samples")}
    assert first.items() <= found.items()


def test_an_existing_folder_is_left_alone(tiny_ppo_runs: Mapping[str, Path], tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"^output: the folder must not exist yet"):
        evaluate(tiny_ppo_runs["abc"], output=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
