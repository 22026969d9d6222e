import json
import shutil

import pytest

from abcrl.config import InputError, to_yaml
from abcrl.storage import RunFolder, write_atomically, write_json
from abcrl.tools.report.conditions import Conditions
from abcrl.tools.report.facts import Fact
from abcrl.tools.report.gather import read_report
from tests.tools.report.reported import ENVIRONMENT, configure, write_cell, write_comparison


def test_a_comparison_is_read_with_all_that_the_page_needs(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    write_comparison(configure(folder), tiny_tokenizer)
    report = read_report(folder)
    assert report.title == "2 arms, 2 seeds"
    assert report.finished == 4
    assert [arm.name for arm in report.arms] == ["abc", "rlhf"]
    assert len(report.summary.verdicts) == 1
    assert {one.key: one.values for one in report.settings} == {
        "reward.mode": ("abc", "rlhf"),
        "reward.beta": ("0.8", "none"),
    }
    assert report.conditions == Conditions()
    assert report.conditions.hold
    assert report.troubles == ()
    assert report.samples.shown == report.samples.of == 16
    assert report.samples.located
    assert {arm: sorted(seeds) for arm, seeds in report.profiles.items()} == {
        "abc": [0, 1],
        "rlhf": [0, 1],
    }
    assert [stage.status for stage in report.stages] == [None, None]
    assert Fact("versions.torch", (("2.0", 4),), equal_in_pairs=True) in report.facts


def test_a_folder_may_be_moved(tmp_path, tiny_tokenizer):
    write_comparison(configure(tmp_path / "runs"), tiny_tokenizer)
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    assert read_report(tmp_path / "elsewhere").finished == 4


def test_cells_that_failed_or_have_not_begun_are_named(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    config = configure(folder)
    write_comparison(config, tiny_tokenizer, left_out=["abc/seed-1"], failed=["rlhf/seed-1"])
    killed = {"arm": "abc", "seed": 1, "status": "missing", "reason": "killed by signal 9"}
    write_json(folder / "summary.json", {"failed": [killed]})
    report = read_report(folder)
    lost = [(one.arm.name, one.seed, one.status, one.reason) for one in report.summary.failed]
    assert lost == [
        ("abc", 1, "missing", "killed by signal 9"),
        ("rlhf", 1, "failed", "step 2: <b>loss</b> is nan"),
    ]
    assert report.finished == 2
    assert report.samples.of == 8


def test_a_comparison_that_has_not_begun_is_reported(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    write_atomically(folder / "config.yaml", to_yaml(configure(folder)))
    report = read_report(folder)
    assert (report.finished, len(report.summary.failed)) == (0, 4)
    assert (report.samples.groups, report.facts, report.profiles) == ((), (), {})
    assert [setting.key for setting in report.settings] == ["reward.mode", "reward.beta"]


def test_environments_are_held_against_each_other_seed_by_seed(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    cells = write_comparison(configure(folder), tiny_tokenizer)
    for cell in cells:
        shutil.rmtree(cell.folder)
        environment = {
            "device": "cpu",
            "versions": {"torch": "2.1" if cell.key == "abc/seed-1" else "2.0"},
            "fingerprints": {"policy": f"seed {cell.seed}"},
        }
        write_cell(cell, tiny_tokenizer, environment=environment)
    facts = {fact.name: fact for fact in read_report(folder).facts}
    assert facts["device"] == Fact("device", (("cpu", 4),), equal_in_pairs=True)
    assert facts["versions.torch"] == Fact(
        "versions.torch", (("2.0", 3), ("2.1", 1)), equal_in_pairs=False
    )
    policy = facts["fingerprints.policy"]
    assert (policy.equal_in_pairs, policy.differs) == (True, True)


def test_a_sweep_says_which_arms_stand_where(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    config = configure(folder, sweep={"reward.beta": [0.5, 0.8], "kl.coef": [0.1]}, seeds=[0])
    write_comparison(config, tiny_tokenizer)
    beta, kl = read_report(folder).sweep
    assert (beta.key, beta.values) == ("reward.beta", ("0.5", "0.8"))
    assert beta.arms == {
        "abc": [["abc@reward.beta=0.5,kl.coef=0.1"], ["abc@reward.beta=0.8,kl.coef=0.1"]],
        "rlhf": [["rlhf@kl.coef=0.1"], ["rlhf@kl.coef=0.1"]],
    }
    assert [len(names) for names in kl.arms["abc"]] == [2]


def test_one_run_is_reported_without_verdicts(tmp_path, tiny_tokenizer):
    [cell, *_] = write_comparison(configure(tmp_path / "runs"), tiny_tokenizer)
    report = read_report(cell.folder)
    assert report.title == "PPO run, abc, seed 0"
    assert not report.is_comparison
    assert report.summary.verdicts == ()
    assert [one.auc for one in report.summary.cells] == pytest.approx([0.4])
    assert report.samples.shown == 4
    assert {"ppo.gae_lambda", "run.seed"} <= {setting.key for setting in report.settings}


def test_a_run_that_failed_says_why(tmp_path, tiny_tokenizer):
    cells = write_comparison(configure(tmp_path / "runs"), tiny_tokenizer, failed=["abc/seed-0"])
    report = read_report(cells[0].folder)
    assert report.title == "PPO run, abc, seed 0: failed, step 2: <b>loss</b> is nan"
    assert [one.status for one in report.summary.failed] == ["failed"]


def test_what_is_neither_is_refused(tmp_path, tiny_tokenizer):
    (tmp_path / "empty").mkdir()
    other = tmp_path / "sft"
    other.mkdir()
    (other / "config.yaml").write_text("model: tiny\nrun: {output: x}\n")
    for folder in (tmp_path / "empty", tmp_path / "absent", other):
        with pytest.raises(InputError, match="folder: must hold a comparison, or a run of"):
            read_report(folder)


def test_a_configuration_that_is_not_valid_is_named(tmp_path):
    config = configure(tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    text = to_yaml(config).replace("steps: 4", "steps: no")
    write_atomically(tmp_path / "runs" / "config.yaml", text)
    with pytest.raises(InputError, match=r"ppo\.steps: "):
        read_report(tmp_path / "runs")


def test_reading_writes_nothing(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    [cell, *_] = write_comparison(configure(folder), tiny_tokenizer)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    read_report(folder)
    read_report(cell.folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_running_comparison_can_be_read(tmp_path, tiny_tokenizer):
    folder = tmp_path / "runs"
    config = configure(folder)
    cells = write_comparison(config, tiny_tokenizer, left_out=["rlhf/seed-1"])
    with RunFolder.create(cells[-1].folder, cells[-1].run, ENVIRONMENT) as run:
        run.append("metrics", [{"step": 0, "eval/score": 0.0}])
        with (cells[-1].folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 1})[:5])
        [lost] = read_report(folder).summary.failed
        assert (lost.arm.name, lost.seed, lost.status) == ("rlhf", 1, "running")
