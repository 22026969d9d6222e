"""What has to be read stands out from what it stands on: WCAG 2.2, 1.4.3 and 1.4.11."""

import re
from importlib.resources import files

import pytest
from matplotlib.colors import to_rgb

from abcrl.analysis.figures.look import style_of

CSS = files("abcrl.tools.report").joinpath("template/report.css").read_text(encoding="utf-8")
Colour = tuple[float, ...]


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def variables(scheme: str) -> dict[str, Colour]:
    """The colours of the light or the dark page; the dark one changes some of the light."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found: dict[str, Colour] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        for name, value in re.findall(r"--(\w+): ([^;]+);", block):
            numbers = tuple(int(one) / 255 for one in value.split()) if " " in value else None
            found[name] = numbers or to_rgb(value)
    return found


def over(colour: Colour, ground: Colour, share: float) -> Colour:
    return tuple(share * c + (1 - share) * g for c, g in zip(colour, ground, strict=True))


def rule(selector: str) -> str:
    found = re.search(rf"^{re.escape(selector)} \{{(.*?)\}}", CSS, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mark", ["mark", "against"])
def test_a_token_and_its_sign_can_be_read_on_full_colour(scheme, mark):
    colours = variables(scheme)
    [sign] = re.findall(
        r"color: var\(--(\w+)\)", rule(".response .void::before, .response .end::before")
    )
    [share] = set(re.findall(r"calc\(-?(\.\d+) \*", rule(".response span")))
    ground = over(colours[mark], colours["ground"], float(share))
    assert contrast(colours[sign], ground) >= 4.5
    assert contrast(colours["ink"], ground) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_soft_text_can_be_read_also_of_an_arm_that_is_switched_off(scheme):
    colours = variables(scheme)
    body = rule('.arm-button[aria-pressed="false"]')
    assert "color: var(--soft)" in body
    assert "opacity" not in body
    for ground in ("ground", "raised"):
        assert contrast(colours["soft"], colours[ground]) >= 4.5


def turned_dark(colour: Colour) -> Colour:
    """What the filter of dark screens makes of a figure's colour: invert(), hue-rotate(180deg).

    By the matrices of the Filter Effects specification, in sRGB.
    """
    [amount] = re.findall(r"filter: invert\((\.\d+)\) hue-rotate\(180deg\);", CSS)
    inverted = [float(amount) + c * (1 - 2 * float(amount)) for c in colour]
    shares = (0.213, 0.715, 0.072)
    rotated = [2 * sum(w * c for w, c in zip(shares, inverted, strict=True)) - c for c in inverted]
    return tuple(min(1.0, max(0.0, c)) for c in rotated)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_lines_of_all_arms_stand_out_from_their_ground(scheme):
    colours = [to_rgb(one) for one in {style_of(position).color for position in range(20)}]
    assert len(colours) == 7
    shown = [turned_dark(one) if scheme == "dark" else one for one in (*colours, (1.0, 1.0, 1.0))]
    assert min(contrast(colour, shown[-1]) for colour in shown[:-1]) >= 3


def test_figures_turn_as_dark_as_the_page():
    ground = variables("dark")["ground"]
    assert turned_dark((1, 1, 1)) == pytest.approx(ground, abs=0.02)
