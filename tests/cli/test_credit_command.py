"""`abcrl credit` at the terminal: what it prints, and what it refuses in one line."""

import pytest

from tests.given_prompts import QUESTIONS, write_answers


def test_tables_show_every_mode_and_what_was_left_out(abcrl, tiny_runs):
    answer = abcrl(
        *("credit", "--reward-model", tiny_runs.reward_model, "--texts", 4, "--output", "out"),
        *("--set", "data.limit=300", "--set", "reward.reference_responses=12"),
    )
    assert answer.code == 0, answer.errors
    shown = [line.split() for line in answer.output.splitlines() if line.strip()]
    modes = ["abc", "rlhf", "uniform", "shuffled", "swapped", "position", "random", "red"]
    for mode in modes:
        where, faithful = (row for row in shown if row[0] == mode)
        assert len(where) == 7  # mode, two numbers, four shares
        assert faithful[0] == mode
    [rlhf, _] = (row for row in shown if row[0] == "rlhf")
    assert rlhf == ["rlhf", "1.0", "0.00", "0.0%", "100.0%", rlhf[5], rlhf[6]]
    [reason] = (line for line in answer.output.splitlines() if line.startswith("abc-d is left out"))
    assert reason.endswith("name one with --policy")
    assert "4 held-out texts" in answer.output


def test_responses_are_credited_behind_their_prompts(abcrl, tiny_runs, tmp_path):
    source = write_answers(tmp_path / "rows.jsonl")
    long = write_answers(tmp_path / "held.jsonl", [*QUESTIONS[:6], "Was it long? " * 50])
    answer = abcrl(
        *("credit", "--reward-model", tiny_runs.reward_model, "--dataset", source),
        *("--validation", long, "--modes", "abc,swapped", "--output", "out"),
    )
    assert answer.code == 0, answer.errors
    assert "6 held-out texts of" in answer.output
    told = " ".join(answer.errors.split())
    assert "1 of 7 held-out texts left out, as prompt and response are longer than" in told


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "reward_model: must be given; Reward model (--reward-model): a local folder"),
        (["--reward-model", "a/b", "--modes", "abc,abd"], "modes.1: must be 'abc', 'rlhf'"),
        (["--reward-model", "a/b", "--texts", 1], "texts: must be greater than or equal to 2"),
        (["--reward-model", "a/b", "--set", "probe.step=3"], "probe.step: unknown key"),
        (
            ["--reward-model", "a/b", "--set", "score.positive_label=2"],
            "score.positive_label: must be a label's name, 0 or 1, received 2; see id2label",
        ),
        (
            ["--reward-model", "a/b", "--set", "score.template=no place"],
            "score.template: must be chat, or hold {response} once and {prompt} at most once",
        ),
        (
            ["--reward-model", "a/b", "--set", 'score.template="{promt} {response}"'],
            "score.template: must have no other places than {prompt} and {response}, received "
            "{promt}",
        ),
        (["--reward-model", "/absent"], "reward_model: must be a model folder with a config.json"),
    ],
)
def test_bad_input_is_refused_in_one_line(refuse, arguments, line):
    assert refuse("credit", *arguments).startswith(line)


def test_dry_run_prints_the_configuration(abcrl):
    answer = abcrl("credit", "--reward-model", "a/b", "--modes", "abc, red", "--dry-run")
    assert answer.code == 0
    assert "- abc" in answer.output
    assert "- red" in answer.output
    assert "reward_model: a/b" in answer.output
