"""The page: whatever a text says, it stands there as text, and nothing else changes."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abcrl.analysis import ArmInfo, CellCurve, Contrast, summarise
from abcrl.analysis.comparison import Comparison
from abcrl.tools.report.facts import Fact, Setting, Stage
from abcrl.tools.report.page import render, say_number, say_signed
from abcrl.tools.report.visible import visible
from tests.tools.report.reported import Page, report_on

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


@pytest.fixture(scope="module")
def comparison() -> str:
    found = Comparison(ARMS, CURVES, summarise(ARMS, CURVES, [Contrast("abc", "rlhf")]))
    return render(replace(report_on("x"), found=found))


def test_verdicts_come_first_then_figures_and_tables(comparison):
    page = Page(comparison)
    sections = [one for one in page.ids if one in {"verdicts", "figures", "tables", "samples"}]
    assert sections == ["verdicts", "figures", "tables", "samples"]
    assert "abc is higher than rlhf by 0.250 ± 0.000" in page.text_of("verdict")
    assert len(page.ids) == len(set(page.ids))


def test_every_part_of_an_arm_can_be_hidden_by_its_class(comparison):
    page = Page(comparison)
    assert ".hide-0 .arm-0,.hide-1 .arm-1 { display: none" in comparison
    buttons = [value for name, value in page.attributes if name == "data-arm"]
    assert buttons == ["0", "1"]
    drawn = re.findall(r'<g class="arm-(\d)"', comparison)
    assert set(drawn) == {"0", "1"}
    # A line and a band of the mean and six thin lines, of each arm.
    assert len(drawn) == 2 * 8


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
