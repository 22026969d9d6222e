import re

import pytest

from abcrl.analysis.figures.learning_curves import learning_curves
from abcrl.analysis.figures.pictures import draw_panel
from abcrl.tools.report.inline import inline_svg
from tests.tools.report.reported import Page
from tests.tools.report.test_page import ARMS, CURVES


@pytest.fixture(scope="module")
def drawing() -> str:
    [panel] = learning_curves(ARMS, CURVES).panels
    return draw_panel(panel)


def test_ids_of_two_drawings_do_not_clash_and_every_reference_is_met(drawing):
    page = Page(inline_svg(drawing, "one", "First") + inline_svg(drawing, "two", "Second"))
    assert len(page.ids) == len(set(page.ids))
    assert all(one.startswith(("one", "two")) for one in page.ids)
    values = [value for _, value in page.attributes]
    references = {one for value in values for one in re.findall(r"url\(#([^)]*)\)", value)}
    references |= {value[1:] for name, value in page.attributes if name == "href"}
    assert references
    assert references <= set(page.ids)


def test_nothing_in_a_drawing_reaches_beyond_it(drawing):
    inlined = inline_svg(drawing, "one", 'A "label" <b>')
    assert not re.findall(r"<style|<metadata|<!--|<!DOCTYPE|<\?xml|https?:", inlined)
    page = Page(inlined)
    assert ("aria-label", 'A "label" <b>') in page.attributes
    root = page.tags[0].split()
    assert "viewbox" in root
    assert "width" not in root


def test_an_ornament_is_not_read_out(drawing):
    assert ("aria-hidden", "true") in Page(inline_svg(drawing, "one", "")).attributes
