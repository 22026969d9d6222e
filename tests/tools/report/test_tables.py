"""Each number in its place: the tables of the page against a comparison reckoned by hand.

Scores rise in a straight line from 0 at step 0, so the AUC is half the final score, and the score
at a KL is the final one's share of the final KL.
"""

from dataclasses import replace

import pytest

from abcrl.analysis import ArmInfo, CellCurve, Contrast, FailedCell, Margin, summarise
from abcrl.analysis.comparison import Comparison
from abcrl.tools.report.facts import Fact, Setting
from abcrl.tools.report.page import render
from tests.tools.report.reported import Page, report_on

ARMS = [
    ArmInfo("abc", "abc", 0.8, 0.95),
    ArmInfo("rlhf", "rlhf", None, 0.95),
    ArmInfo("uniform", "uniform", 1.0, 0.95),
]
FINALS = {
    "abc": (1.8, 2.2, 2.6, 3.0, 3.4, 5.0),
    "rlhf": (1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
    "uniform": (-1.0, 2.0, 2.0, 2.0, 2.0),  # seed 5 failed
}
KL = {"abc": 4.0, "rlhf": 8.0, "uniform": 2.0}
CONTRASTS = [Contrast("abc", "rlhf"), Contrast("uniform", "rlhf")]


def minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


@pytest.fixture(scope="module")
def page() -> Page:
    curves = [
        CellCurve(
            arm,
            seed,
            (0, 5, 10),
            {
                "eval/score": (0.0, final / 2, final),
                "eval/score_se": (0.1, 0.1, 0.1),
                "eval/kl_exact": (0.0, KL[arm] / 2, KL[arm]),
            },
            alarmed=(arm, seed) == ("abc", 1),
        )
        for arm, finals in FINALS.items()
        for seed, final in enumerate(finals)
    ]
    failed = [FailedCell("uniform", 5, "failed", "loss is nan")]
    found = Comparison(ARMS, curves, summarise(ARMS, curves, CONTRASTS, failed))
    facts = (
        Fact("device", (("cpu", 12), ("cuda", 5)), equal_in_pairs=False),
        Fact("fingerprints.policy", (("aa", 9), ("bb", 8)), equal_in_pairs=True),
        Fact("versions.torch", (("2.0", 17),), equal_in_pairs=True),
    )
    settings = (Setting("reward.beta", ("0.8", "none", "1.0")),)
    report = replace(report_on("x"), found=found, facts=facts, settings=settings)
    return Page(render(report))


def test_arms(page):
    head, *rows = page.tables["Arms"]
    assert head == [
        *("arm", "mode", "β", "λ", "seeds", "failed", "collapsed", "AUC ± SE", "median"),
        minus("AUC - rlhf, 95 % interval"),
        *("final score", "final KL"),
    ]
    by_arm = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert list(by_arm) == ["abc", "rlhf", "uniform"]
    table = {
        "β": ("0.80", "\N{EN DASH}", "1.00"),
        "seeds": ("6", "6", "5"),
        "failed": ("0", "0", "1"),
        "collapsed": ("1", "0", "1"),
        "median": ("1.400", "0.750", "1.000"),
        "final score": ("3.00", "1.50", "1.40"),
        "final KL": ("4.0", "8.0", "2.0"),
    }
    for name, values in table.items():
        assert tuple(by_arm[arm][name] for arm in by_arm) == values
    # Means 9 / 6, 4.5 / 6, 3.5 / 5; deviations from them squared: 1.6, 0.175, 1.8.
    aucs = [by_arm[arm]["AUC ± SE"] for arm in by_arm]
    assert aucs == ["1.500 ± 0.231", "0.750 ± 0.076", "0.700 ± 0.300"]
    # Differences 0.4 to 0.8 and 1.5: mean 0.75, squares 0.775; t of 5 at 97.5 % is 2.5706.
    differences = [by_arm[arm][head[9]] for arm in by_arm]
    assert differences[0] == "+0.750 [+0.337, +1.163]"
    assert differences[1] == ""
    # -1.0, 0.4, 0.3, 0.2, 0.1 over the five pairs that are there.
    assert differences[2].startswith("+0.000 [")


def test_aucs_seed_by_seed_with_what_collapsed_and_what_failed(page):
    head, *rows = page.tables["AUC by seed"]
    assert head == ["seed", "abc", "rlhf", "uniform"]
    assert rows == [
        ["0", "0.900", "0.500", minus("-0.500*")],
        ["1", "1.100*", "0.600", "1.000"],
        ["2", "1.300", "0.700", "1.000"],
        ["3", "1.500", "0.800", "1.000"],
        ["4", "1.700", "0.900", "1.000"],
        ["5", "2.500", "1.000", "failed"],
    ]
    assert "uniform, seed 5: failed, loss is nan" in page.text_of("li")


def test_numbers_of_the_first_card(page):
    rows = dict(page.tables["Numbers of abc against rlhf"])
    assert rows["mean difference"] == "+0.750"
    assert rows["median difference"] == "+0.650"
    assert rows["95 % t interval"] == "[+0.337, +1.163]"
    assert rows["sign-flip p"] == "p = .031"  # 2 / 2^6
    assert rows["after Holm, of 2"] == "p = .062"
    by_seed = [rows[f"seed {seed}"] for seed in range(6)]
    assert by_seed == ["+0.400", "+0.500", "+0.600", "+0.700", "+0.800", "+1.500"]


def test_numbers_of_a_card_with_a_missing_cell(page):
    rows = dict(page.tables["Numbers of uniform against rlhf"])
    assert rows["seed 5"] == "missing"
    assert rows["seed 0"] == minus("-1.000")
    assert rows["median difference"] == "+0.200"


@pytest.mark.parametrize(
    ("seeds", "margin", "row"),
    [
        (6, Margin(10.0), ["margin 10.000", "10.000, shown"]),
        (6, Margin(0.5), ["margin 0.500", "0.500, not shown"]),
        (0, Margin(0.2, ("abc", "rlhf")), [minus("margin 20 % of abc - rlhf"), "not tested: {}"]),
    ],
)
def test_a_margin_was_shown_or_not_or_not_tested(monkeypatch, seeds, margin, row):
    monkeypatch.setattr(Comparison, "usable", [])  # no figure: they take seconds
    curves = [
        CellCurve(arm, seed, (0,), {"eval/score": (FINALS[arm][seed] / 2,)})
        for arm in ("abc", "rlhf")
        for seed in range(seeds)
    ]
    failed = [] if seeds else [FailedCell("abc", 0, "failed")]
    summary = summarise(ARMS[:2], curves, [Contrast("abc", "rlhf", margin)], failed)
    page = Page(render(replace(report_on("x"), found=Comparison(ARMS[:2], curves, summary))))
    expected = [row[0], row[1].format(summary.contrasts[0].not_tested)]
    assert expected in page.tables["Numbers of abc against rlhf"]
    assert ("no verdict: no result of abc and rlhf" in page.text_of("badge")) == (not seeds)


def test_score_at_equal_kl_of_each_arm(page):
    assert page.tables["Score at equal KL"] == [
        ["KL", "abc", "rlhf", "uniform"],
        ["0.50 nats", "0.375", "0.094", "0.350"],
        ["1.00 nats", "0.750", "0.188", "0.700"],
        ["1.50 nats", "1.125", "0.281", "1.050"],
    ]
    notes = page.text_of("note")
    assert "25 %, 50 %, 75 % of the lowest of all runs' peak KLs, that of uniform seed 0." in notes


def test_steps_to_most_of_the_gain_with_those_that_never_arrive(page):
    # The threshold is 0.9 x 1.5; a final score f is there at step 13.5 / f.
    assert "first reaches 1.350" in page.text_of("note")
    assert page.tables["Steps to most of the gain of rlhf"] == [
        ["arm", "steps", "not arrived", "cells"],
        ["abc", "5.0", "0", "6"],
        ["rlhf", "8.7", "2", "6"],
        ["uniform", "7.4", "1", "5"],
    ]


def test_settings_and_environment(page):
    assert page.tables["Settings"] == [
        ["setting", "abc", "rlhf", "uniform"],
        ["reward.beta", "0.8", "none", "1.0"],
    ]
    assert page.tables["Environment"] == [
        ["device", "cpu (12 cells); cuda (5 cells)"],
        ["fingerprints.policy", "aa (9 cells); bb (8 cells)"],
        ["versions.torch", "2.0"],
    ]
    notes = page.text_of("note")
    assert "Cells with the same seed differ in device." in notes
    assert "From seed to seed differs: fingerprints.policy" in notes
