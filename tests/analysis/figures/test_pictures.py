import xml.etree.ElementTree as ET

import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from abcrl.analysis.figures.look import legend_line, style_of
from abcrl.analysis.figures.pictures import Panel, Picture, draw_panel, draw_swatch, save_picture


def draw(axis: Axes) -> None:
    axis.set_xlim(0, 1)


def picture(panels: int = 1, caption: str = "A caption.") -> Picture:
    each = [Panel(f"p{n}", f"Panel {n}", draw) for n in range(panels)]
    entries = [legend_line(style_of(n), f"arm {n}") for n in range(3)]
    return Picture("picture", "Title", caption, tuple(each), tuple(entries))


def panels_in(svg: str) -> int:
    groups = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


@pytest.mark.parametrize("panels", [1, 3])
def test_a_file_holds_all_panels_and_a_page_gets_them_one_by_one(tmp_path, panels):
    one = picture(panels)
    _, svg = save_picture(one, tmp_path / "p")
    assert panels_in(svg.read_text()) == panels
    assert [panels_in(draw_panel(panel)) for panel in one.panels] == [1] * panels
    assert draw_panel(one.panels[0]) == draw_panel(one.panels[0])


def test_a_long_caption_takes_more_lines_and_stays_inside(tmp_path):
    short, _ = save_picture(picture(), tmp_path / "short")
    long, _ = save_picture(picture(caption="words " * 60), tmp_path / "long")
    first, second = (imread(path)[..., :3] for path in (short, long))
    assert second.shape[0] > first.shape[0]
    assert second.shape[1] == first.shape[1]
    assert second[:, :4].min() == second[:, -4:].min() == 1.0


def test_a_swatch_has_line_and_marker():
    svg = draw_swatch(legend_line(style_of(1), "rlhf"))
    assert svg.count("#d55e00") >= 2
    assert svg.count("<use ") == 1
