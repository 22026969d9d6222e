"""The page: whatever a text says, it stands there as text, and nothing else changes."""

import base64
import hashlib
import random
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abcrl.analysis import ArmInfo, CellCurve, Contrast, summarise
from abcrl.analysis.comparison import Comparison
from abcrl.tools.report.conditions import Conditions
from abcrl.tools.report.drawn import draw_all, picture_report
from abcrl.tools.report.facts import Fact, Setting, Stage
from abcrl.tools.report.page import render, say_number, say_signed
from abcrl.tools.report.samples import MOST_BYTES, Samples
from abcrl.tools.report.visible import visible
from tests.tools.report.reported import Page, report_on

METRICS = ("eval/score", "eval/gold_score", "eval/kl_exact")
HOSTILE = (
    "</div></span></script><script>alert(1)</script><!-- <style> ]]> &lt; \" ' onload=x "
    "\x1b[31m \u202e {{ 7 * 7 }} {% raw %}"
)
PLAIN = Page(render(report_on("a plain text", cut=[2, 5])))


@given(st.text(), st.lists(st.integers(0, 40), min_size=2, max_size=2))
@example(HOSTILE, [5, 30])
@example("\n leading and trailing \n", [0, 3])
@example("\r\n\x00 &amp; \ud800", [1, 2])
def test_any_text_comes_back_from_the_page_and_adds_no_element(text, cut):
    shown = visible(text)
    page = Page(render(report_on(text, cut=cut)))
    assert page.text_of("response").strip() == shown.strip()
    assert page.text_of("prompt") == shown
    assert shown.strip() in page.text_of("li")
    assert shown in page.text_of("title")
    strip_class = [tag.replace("span class title", "span title") for tag in page.tags]
    assert strip_class == PLAIN.tags


def test_a_response_that_cannot_be_cut_stands_whole():
    page = Page(render(report_on(HOSTILE)))
    assert page.text_of("response").strip() == visible(HOSTILE)
    assert sum(tag.startswith("script") for tag in page.tags) == 1


@pytest.mark.parametrize("text", [HOSTILE, "plain"])
def test_settings_facts_and_models_are_escaped_too(text):
    report = replace(
        report_on("x"),
        settings=(Setting(text, (text,)),),
        facts=(Fact(text, ((text, 2), ("b", 1)), equal_in_pairs=False),),
        stages=(Stage("SFT model", text, "finished", {text: text, "loss": 0.5}),),
    )
    html = render(report)
    page = Page(html)
    assert page.text_of("table").count(visible(text)) == 6
    assert visible(text) in page.text_of("path")
    assert html.count("<script") == 1
    assert "\x1b" not in html


def test_the_page_asks_for_nothing_and_lets_only_its_own_script_run():
    html = render(report_on("x"))
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    page = Page(html)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in {"href", "src"}]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "url(" not in html
    assert not re.findall(r"https?://", html)


CURVES = [
    CellCurve(arm, seed, (0, 2), {"eval/score": (0.0, rise + seed / 10)})
    for arm, rise in (("abc", 1.0), ("rlhf", 0.5))
    for seed in range(6)
]
ARMS = [ArmInfo("abc", "abc", 0.8, 0.95), ArmInfo("rlhf", "rlhf", None, 0.95)]

FOUND = Comparison(ARMS, CURVES, summarise(ARMS, CURVES, [Contrast("abc", "rlhf")]))


@pytest.fixture(scope="module")
def comparison() -> str:
    return render(replace(report_on("x"), found=FOUND))


def test_verdicts_come_first_then_figures_and_tables(comparison):
    page = Page(comparison)
    sections = [one for one in page.ids if one in {"verdicts", "figures", "tables", "samples"}]
    assert sections == ["verdicts", "figures", "tables", "samples"]
    assert "abc is higher than rlhf by 0.250 ± 0.000" in page.text_of("verdict")
    assert len(page.ids) == len(set(page.ids))


SAME = "all finished cells ran on the same SFT and reward model"
ONE = "conditional on this one SFT model and this one reward model"


@pytest.mark.parametrize(
    ("conditions", "on_one", "warning"),
    [
        (Conditions(), True, ""),
        (Conditions(unknown=2), True, "2 of 0 finished cells do not record"),
        (Conditions(("a", "b")), False, "Read with care: a; b. So differences"),
    ],
)
def test_what_the_verdicts_are_conditional_on_is_said_beside_them(
    comparison, conditions, on_one, warning
):
    assert SAME in Page(comparison).text_of("note")
    page = Page(render(replace(report_on("x"), conditions=conditions)))
    said = page.text_of("note")
    assert SAME not in said  # no cell has finished
    assert (ONE in said) == on_one
    assert warning in page.text_of("warning")
    assert bool(page.text_of("warning")) == bool(warning)


def test_figures_that_do_not_fit_leave_their_place():
    pictures = picture_report(replace(report_on("x"), found=FOUND))
    drawn = draw_all(pictures)
    size = sum(len(panel) for panel in drawn[0].panels)
    assert [bool(one.panels) for one in drawn] == [True, True]
    assert [bool(one.panels) for one in draw_all(pictures, most_bytes=size)] == [True, False]
    few = draw_all(pictures, most_bytes=size - 1)
    assert [(one.title, bool(one.panels)) for one in few] == [
        ("Learning curves", False),
        ("Paired differences", True),
    ]


@pytest.mark.slow
def test_no_comparison_makes_a_page_of_more_than_five_megabytes():
    arms = [ArmInfo(f"arm-{n}-{'x' * 50}", "abc", 0.8, 0.95) for n in range(240)]
    curves = [
        CellCurve(
            arm.name,
            seed,
            tuple(range(80)),
            {name: tuple(random.Random(n).random() for n in range(80)) for name in METRICS},
        )
        for arm in arms
        for seed in range(3)
    ]
    contrasts = [Contrast(arm.name, arms[0].name) for arm in arms[1:]]
    found = Comparison(arms, curves, summarise(arms, curves, contrasts))
    html = render(replace(report_on("x"), found=found))
    assert len(html.encode()) + MOST_BYTES < 5_000_000  # with all samples that may be there
    page = Page(html)
    assert "first 200 of 240 arms" in page.text_of("note")
    assert "first 200 of 239 declared contrasts" in page.text_of("note")
    assert "Too large for this page" in page.text_of("figures")
    assert len(page.tables["Arms"]) == 1 + 200


def test_every_part_of_an_arm_can_be_hidden_by_its_class(comparison):
    page = Page(comparison)
    assert ".hide-0 .arm-0,.hide-1 .arm-1 { display: none" in comparison
    buttons = [value for name, value in page.attributes if name == "data-arm"]
    assert buttons == ["0", "1"]
    drawn = re.findall(r'<g class="arm-(\d)"', comparison)
    assert set(drawn) == {"0", "1"}
    # A line and a band of the mean and six thin lines, of each arm.
    assert len(drawn) == 2 * 8


def test_a_sample_says_what_its_token_scores_sum_to_and_where_its_run_ended():
    report = report_on("x", cut=[1])
    [group] = report.samples.groups
    [sample] = group.samples
    ended = replace(sample, step=2, score=2.0, offset=0.5, left_out=7)
    clipped = replace(sample, score=2.0, offset=0.5, shaped_score=1.0)
    groups = (replace(group, samples=(ended, clipped)),)
    page = Page(render(replace(report, samples=Samples(groups, 2, 2, last_step=4))))
    first, second = page.text_of("small").split("step ")[1:]
    assert first == "2 (this run's last), score +2.00, less its offset +1.50"
    assert second == "4, score +2.00, scaled or clipped to +1.00"
    lengths = [value for name, value in page.attributes if name == "data-tokens"]
    assert lengths == [str(ended.length), str(clipped.length)] == ["9", "2"]


def test_samples_that_do_not_fit_are_counted_and_print_says_what_it_leaves_out():
    report = report_on("x", cut=[1])
    none = Page(render(replace(report, samples=Samples((), 0, 40, 4))))
    assert "0 of 40 responses" in none.text_of("note")
    assert none.text_of("printed") == ""
    [group] = report.samples.groups
    groups = (group, replace(group, prompt_index=1))
    several = Page(render(replace(report, samples=replace(report.samples, groups=groups))))
    assert several.text_of("printed").startswith("Printed is one prompt of 2")


def test_without_a_script_the_last_samples_are_shown():
    report = report_on("x", cut=[1])
    [group] = report.samples.groups
    groups = (replace(group, when="first"), group)
    html = render(replace(report, samples=replace(report.samples, groups=groups)))
    assert re.findall(r'data-when="(\w+)"[^>]*?( hidden)?>', html) == [
        ("first", " hidden"),
        ("last", ""),
    ]


@pytest.mark.parametrize(
    ("value", "places", "said"),
    [
        (None, 2, "\N{EN DASH}"),
        (-1.234, 2, "\N{MINUS SIGN}1.23"),
        (0.0, 2, "0.00"),
        (0.0004, 2, "0.0004"),
        (3, 2, "3"),
        (True, 2, "True"),
        ("word", 2, "word"),
    ],
)
def test_numbers_are_said_with_their_places(value, places, said):
    assert say_number(value, places) == said


def test_differences_are_said_with_their_sign():
    said = [say_signed(value) for value in (None, 0.5, -0.5)]
    assert said == ["\N{EN DASH}", "+0.50", "\N{MINUS SIGN}0.50"]
