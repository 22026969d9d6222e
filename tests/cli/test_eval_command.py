"""`abcrl eval` at the terminal: what it prints of runs and models, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from abcrl.reporter import SilentReporter
from abcrl.stages.ppo import run_ppo

ROWS = {
    "score": 3,
    "gold score": 3,
    "exact KL, nats": 3,
    "length, tokens": 3,
    "ended by EOS": 2,
    "distinct-1": 2,
    "distinct-2": 2,
    "distinct-3": 2,
    "repetition": 2,
}


def rows_of(output: str) -> dict[str, str]:
    """The lines of the table, by what they begin with."""
    lines = [line.strip() for line in output.splitlines()]
    return {
        name: line[len(name) :].strip()
        for line in lines
        for name in (*ROWS, "win rate")
        if line.startswith(f"{name}  ")
    }


def folder_state(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_is_shown_beside_its_sft_model(abcrl, tiny_ppo_runs, tiny_runs):
    before = folder_state(tiny_ppo_runs["abc"])
    answer = abcrl("eval", tiny_ppo_runs["abc"], "--output", "out", "--samples", 2)
    assert answer.code == 0, answer.errors
    shown = rows_of(answer.output)
    assert shown.keys() == {*ROWS, "win rate"}
    summary = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    score, difference = summary["policy"]["summary"]["score"], summary["difference"]
    assert shown["score"].startswith(f"{score['mean']:+.2f} ± {score['standard_error']:.2f}")
    interval = f"[{difference['score']['low']:+.2f}, {difference['score']['high']:+.2f}]"
    assert shown["score"].endswith(f"{difference['score']['value']:+.2f} {interval}")
    assert "0.0 ± 0.0" in shown["exact KL, nats"]
    rate = difference["win_rate"]
    assert shown["win rate"] == f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
    assert f"against       {tiny_runs.policy}" in answer.output
    assert "4 held-out prompts, 2 responses to each" in answer.output
    assert "was trained on other terms" not in answer.output
    table = answer.output[answer.output.index("4 held-out") : answer.output.index("results")]
    assert max(map(len, table.splitlines())) <= 80
    assert folder_state(tiny_ppo_runs["abc"]) == before


@pytest.mark.parametrize(
    "changes", [{"networks__lora": {"rank": 2}}, {"networks__value_model": "separate"}]
)
def test_runs_of_every_kind_are_evaluated(abcrl, tiny_runs, tiny_ppo_runs, tmp_path, changes):
    run_ppo(tiny_runs.ppo(tmp_path / "run", **changes), SilentReporter())
    answer = abcrl("eval", "run", "--against", tiny_ppo_runs["rlhf"], "--samples", 1)
    assert answer.code == 0, answer.errors
    shown = rows_of(answer.output)
    assert "0.0 ± 0.0" not in shown["exact KL, nats"]
    assert "no win rate: it takes two responses to each prompt" in " ".join(answer.output.split())
    assert not Path("out").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["run"]


def test_what_differs_from_a_runs_own_settings_is_said(abcrl, tiny_ppo_runs):
    answer = abcrl(
        *("eval", tiny_ppo_runs["abc"], "--against", tiny_ppo_runs["rlhf"], "--samples", 1),
        *("--set", "response.temperature=0.5"),
    )
    assert answer.code == 0, answer.errors
    for side in ("policy", "against"):
        line = (
            f"{side} was trained on other terms than these: "
            f"response.temperature: 1.0 there, 0.5 now"
        )
        assert line in answer.output.splitlines()


def test_a_model_alone_gets_one_column(abcrl, tiny_runs):
    answer = abcrl(
        *("eval", tiny_runs.policy, "--reward-model", tiny_runs.reward_model, "--prompts", 3),
        *("--set", "data.limit=300", "--set", "prompt.min_characters=0"),
    )
    assert answer.code == 0, answer.errors
    assert "against" not in answer.output
    assert "KL" not in answer.output
    shown = rows_of(answer.output)
    assert shown.keys() == ROWS.keys() - {"exact KL, nats"}
    assert all(len(line.split()) in (1, 3) for line in shown.values())  # one number, or with error


def test_a_runs_settings_never_reach_the_terminal_as_commands(abcrl, tiny_ppo_runs, tmp_path):
    run = shutil.copytree(tiny_ppo_runs["abc"], tmp_path / "run")
    config = (run / "config.yaml").read_text(encoding="utf-8")
    before, found, after = config.rpartition("  template: null\n")  # the reward model's
    assert found
    hostile = f'{before}  template: "[red]\\x1b[2J{{response}}"\n{after}'
    (run / "config.yaml").write_text(hostile, encoding="utf-8")
    answer = abcrl("eval", "run", "--samples", 1, "--set", "score.template=null")
    assert answer.code == 0, answer.errors
    assert r"score.template: [red]\x1b[2J{response} there, None now" in answer.output
    assert "\x1b" not in answer.output


def test_names_with_markup_are_shown_as_they_are(abcrl, tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs.policy, tmp_path / "[red]bold[/red]")
    answer = abcrl(
        *("eval", folder, "--reward-model", tiny_runs.reward_model, "--prompts", 2),
        *("--samples", 1, "--set", "data.limit=300", "--set", "prompt.min_characters=0"),
    )
    assert answer.code == 0, answer.errors
    assert f"policy        {folder}\n" in answer.output


def test_dry_run_prints_what_the_run_says(abcrl, tiny_ppo_runs, tiny_runs):
    answer = abcrl("eval", tiny_ppo_runs["abc"], "--prompts", 9, "--dry-run")
    assert answer.code == 0
    printed = " ".join(answer.output.split())  # YAML folds long paths
    assert f"policy: {tiny_ppo_runs['abc']}/final" in printed
    assert f"reward_model: {tiny_runs.reward_model}" in printed
    assert "prompts: 9" in printed
    assert "limit: 300" in printed


def test_other_texts_keep_the_rest_of_what_the_run_says(abcrl, tiny_ppo_runs):
    Path("mine.csv").write_text("review\ngood\nbad\n", encoding="utf-8")
    arguments = ("--dataset", "mine.csv", "--text-column", "review", "--dry-run")
    printed = abcrl("eval", tiny_ppo_runs["abc"], *arguments).output
    printed = " ".join(printed.split())  # YAML folds long paths
    assert f"source: {Path('mine.csv').absolute()}" in printed
    assert "text: review" in printed
    assert "limit: 300" in printed


def test_other_held_out_texts_are_named_at_the_terminal(abcrl, tiny_ppo_runs):
    for name in ("mine.csv", "held.csv"):
        Path(name).write_text("text\ngood\nbad\n", encoding="utf-8")
    arguments = ("--dataset", "mine.csv", "--validation", "held.csv", "--dry-run")
    printed = " ".join(abcrl("eval", tiny_ppo_runs["abc"], *arguments).output.split())
    assert f"source: {Path('mine.csv').absolute()}" in printed
    assert f"validation: {Path('held.csv').absolute()}" in printed


def test_the_printed_configuration_is_one_to_start_from(abcrl, tiny_ppo_runs):
    printed = abcrl("eval", tiny_ppo_runs["abc"], "--dry-run").output
    Path("eval.yaml").write_text(printed, encoding="utf-8")
    assert abcrl("eval", "--config", "eval.yaml", "--dry-run").output == printed
    # What is named at the terminal takes the place of what the file names.
    other = abcrl("eval", tiny_ppo_runs["rlhf"], "--config", "eval.yaml", "--dry-run").output
    names = (str(tiny_ppo_runs[mode]) for mode in ("abc", "rlhf"))
    assert other.split() == printed.replace(*names).split()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--reward-model", "c/d"], "policy: must be given; Model that is evaluated (MODEL)"),
        (["a/b"], "reward_model: must be given; Reward model that scores the responses"),
        (["a/b", "--reward-model", "c/d", "--samples", 0], "samples: must be greater than or"),
        (["a/b", "--reward-model", "c/d", "--set", "score.clip=3"], "score.clip: unknown key"),
        (["empty"], "policy: must be the folder of a PPO run or of a model, received empty"),
        (["a/b", "--against", "empty"], "against: must be the folder of a PPO run or of a model"),
        (["/absent", "--reward-model", "c/d"], "policy: must be a model folder"),
    ],
)
def test_bad_input_is_refused_in_one_line(refuse, tmp_path, arguments, line):
    (tmp_path / "empty").mkdir()
    assert refuse("eval", *arguments).startswith(line)


def test_an_unfinished_run_is_refused(refuse, tiny_ppo_runs, tmp_path):
    run = shutil.copytree(tiny_ppo_runs["abc"], tmp_path / "run")
    shutil.rmtree(run / "final")
    (run / "status.json").write_text('{"state": "interrupted"}', encoding="utf-8")
    line = refuse("eval", "run")
    assert line == (
        "policy: must be a run that has finished, received run, which was interrupted; wait for "
        f"it, or go on with abcrl ppo --resume --output {run}"
    )


def test_the_command_runs_in_a_narrow_terminal(app, tiny_ppo_runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["eval", str(tiny_ppo_runs["abc"]), "--samples", "2", "--prompts", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "…" not in result.stdout
