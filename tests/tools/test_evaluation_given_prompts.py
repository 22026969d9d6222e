"""`abcrl eval` on runs whose data give prompts: the run's own prompts, templates and judge."""

from pathlib import Path
from typing import Any

import pytest
import torch

from abcrl.config import EvalConfig, InputError, PpoConfig, load_config
from abcrl.config.reward import EvidenceConfig, ReadingConfig
from abcrl.dialogue import PromptText
from abcrl.models import PromptedText, PromptWriter
from abcrl.reporter import SilentReporter
from abcrl.rl.scoring.loading import load_scorer
from abcrl.stages.ppo import run_ppo
from abcrl.storage import read_fingerprints, read_rows
from abcrl.tools.evaluated_runs import differences, settings_of
from abcrl.tools.evaluation import EvalReport, run_eval
from abcrl.tools.texts import as_responses
from tests.conftest import TINY_PPO
from tests.given_prompts import (
    DIALOGUE,
    QUESTION,
    QUESTIONS,
    Models,
    write_answers,
    write_conversations,
)
from tests.stages.comparisons import Listening


@pytest.fixture(scope="module")
def run(models: Models, tmp_path_factory) -> Path:
    """A finished run on a file with other names for its columns, and a held-out file."""
    root: Path = tmp_path_factory.mktemp("run")
    source = write_answers(root / "rows.jsonl", QUESTIONS[:17])
    heldout = write_answers(root / "heldout.jsonl", QUESTIONS[17:])
    for file in (source, heldout):
        text = file.read_text(encoding="utf-8").replace('"prompt"', '"post"')
        file.write_text(text, encoding="utf-8")
    settings: dict[str, Any] = {
        **TINY_PPO,
        "data.limit": None,
        "data.source": str(source),
        "data.validation": str(heldout),
        "data.columns.prompt": "post",
        "data.format": "prompt",
        "data.template": QUESTION,
        "data.rows.max_turns": 1,
        "score.template": "chat",
        "prompt.max_tokens": 60,
        "policy": str(models.policy),
        "reward_model": str(models.foreign_reward_model),
        "run.output": str(root / "run"),
    }
    run_ppo(load_config(PpoConfig, flags=settings), SilentReporter())
    return root / "run"


def config_of(run: Path, **changes: object) -> EvalConfig:
    defaults, named = settings_of(str(run), None)
    flags = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(EvalConfig, flags={**named, **flags}, defaults=defaults)


def evaluate(config: EvalConfig) -> tuple[EvalReport, list[dict[str, Any]]]:
    assert config.output is not None
    report = run_eval(config, SilentReporter())
    return report, read_rows(Path(config.output), "samples")


def test_a_run_is_judged_by_what_it_was_trained_with(run: Path, models: Models, tmp_path):
    config = config_of(run, output=str(tmp_path / "out"), samples=2)
    report, rows = evaluate(config)
    assert report.policy.trained_with == ()
    own = {row["prompt_index"]: row for row in read_rows(run, "samples")}
    writer = PromptWriter(models.tokenizer, QUESTION)
    for row in rows:
        question = row["prompt"].removeprefix("Question: ").removesuffix("\nAnswer:")
        assert question in QUESTIONS[17:]
        assert row["prompt_ids"] == writer.prompt_ids(PromptText(question))
        if row["prompt_index"] in own:
            assert row["prompt_ids"] == own[row["prompt_index"]]["prompt_ids"]
    assert len({row["prompt"] for row in rows}) == report.prompts == 4


def test_scores_are_those_that_the_run_gives_the_same_responses(run: Path, tmp_path):
    # The stream of a run's own evaluation differs; so both sides are asked about themselves.
    config = config_of(run, output=str(tmp_path / "out"), samples=2)
    _, rows = evaluate(config.replace(against=config.policy))
    scores = {
        (row["side"], row["prompt_index"], row["sample"]): (row["response_ids"], row["score"])
        for row in rows
    }
    for (side, *which), found in scores.items():
        other = scores["against" if side == "policy" else "policy", *which]
        assert found[0] == other[0]
        assert found[1] == pytest.approx(other[1], abs=1e-5)


@pytest.mark.parametrize(
    ("template", "score_template", "kind"),
    [
        (None, None, "own"),
        (None, None, "foreign"),
        (QUESTION, None, "foreign"),
        ("chat", "chat", "foreign"),
        ("chat", DIALOGUE, "own"),
        (QUESTION, "chat", "own"),
    ],
)
def test_templates_and_judges_go_together_as_in_ppo(
    models: Models, tmp_path, template, score_template, kind
):
    settings: dict[str, Any] = {
        "policy": str(models.policy),
        "reward_model": str(models.reward(kind)[0]),
        "data.source": str(write_answers(tmp_path / "rows.jsonl")),
        "data.validation_fraction": 0.4,
        "data.template": template,
        "score.template": score_template,
        "prompt.max_tokens": 60,
        "prompts": 4,
        "samples": 1,
    }
    evaluation = load_config(EvalConfig, flags={**settings, "output": str(tmp_path / "out")})
    _, rows = evaluate(evaluation)
    ppo = {key: value for key, value in settings.items() if key not in ("prompts", "samples")}
    ppo = {**TINY_PPO, "data.limit": None, **ppo, "run.output": str(tmp_path / "run"), "steps": 1}
    ppo |= {"evaluation.prompts": 4, "evaluation.samples": 4}
    run_ppo(load_config(PpoConfig, flags=ppo), SilentReporter())
    own = [row for row in read_rows(tmp_path / "run", "samples") if row["step"] == 0]
    assert [row["prompt_ids"] for row in rows] == [row["prompt_ids"] for row in own]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in own]
    scorer = load_scorer(
        settings["reward_model"],
        models.tokenizer,
        EvidenceConfig(),
        ReadingConfig(template=score_template),
        policy_template=template,
    )
    writer = PromptWriter(models.tokenizer, template)
    said = {tuple(writer.prompt_ids(PromptText(each))): PromptText(each) for each in QUESTIONS}
    for row in rows:
        text = PromptedText([*row["prompt_ids"], *row["response_ids"]], len(row["prompt_ids"]))
        responses = as_responses([text], torch.device("cpu"), [said[tuple(row["prompt_ids"])]])
        assert row["score"] == pytest.approx(float(scorer.score(responses).scores[0]), abs=1e-4)


def test_another_held_out_file_gives_the_prompts_and_is_named(run: Path, tmp_path):
    heldout = write_answers(tmp_path / "mine.jsonl", ["Was it any good?", "Who was in it?"])
    text = heldout.read_text(encoding="utf-8").replace('"prompt"', '"post"')
    heldout.write_text(text, encoding="utf-8")
    config = config_of(run, data__validation=str(heldout), output=str(tmp_path / "out"), samples=1)
    report, rows = evaluate(config)
    assert {row["prompt"] for row in rows} == {
        "Question: Was it any good?\nAnswer:",
        "Question: Who was in it?\nAnswer:",
    }
    [line] = report.policy.trained_with
    assert line.startswith("data.validation: ")
    assert line.endswith(f"{heldout} now")


def test_a_run_says_how_its_prompts_are_read(run: Path):
    config = config_of(run)
    saved = load_config(PpoConfig, file=run / "config.yaml")
    assert config.data == saved.data
    assert config.score.template == "chat"
    assert differences(str(run), config, read_fingerprints(run)) == []
    changed = config.replace(data=config.data.replace(template="chat", seed=3))
    assert differences(str(run), changed, {})[:2] == [
        "data.seed: 0 there, 3 now",
        f"data.template: {QUESTION} there, chat now",
    ]


def test_another_source_has_its_own_columns_and_the_runs_template(run: Path):
    defaults, _ = settings_of(str(run), None, other_source=True)
    data = defaults["data"]
    assert data["template"] == QUESTION
    assert data["rows"]["max_turns"] == 1
    assert not {"source", "validation", "format", "columns", "labels", "subset", "split"} & {*data}


def test_conversations_that_the_judge_has_no_place_for_are_refused(models: Models, tmp_path):
    config = load_config(
        EvalConfig,
        flags={
            "policy": str(models.policy),
            "reward_model": str(models.reward_model),
            "data.source": str(write_conversations(tmp_path / "rows.jsonl")),
            "data.validation_fraction": 0.4,
            "data.template": "chat",
            "score.template": DIALOGUE,
            "prompt.max_tokens": 120,
            "output": str(tmp_path / "out"),
        },
    )
    with pytest.raises(InputError, match=r"^score\.template: must be chat for conversations"):
        run_eval(config, Listening())
    assert not (tmp_path / "out").exists()
