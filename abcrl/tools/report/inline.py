"""SVG of matplotlib as a part of a page."""

import re
import xml.etree.ElementTree as ET
from itertools import count

from markupsafe import Markup

_SVG = "{http://www.w3.org/2000/svg}"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_ARM = re.compile(r"(arm-\d+)\.")


def inline_svg(svg: str, prefix: str, label: str) -> Markup:
    """Returns a drawing as an element of HTML that clashes with no other.

    Ids get a prefix; what belongs to an arm gets the arm's class in place of an id, `arm-3`; style
    sheets, comments and metadata go, as they would reach beyond the drawing or add nothing.

    Args:
        svg: As matplotlib writes it.
        prefix: Different for each drawing of a page.
        label: What it shows, for those who cannot see it; empty for an ornament.
    """
    root = ET.fromstring(svg)  # drops comments
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag == f"{_SVG}metadata":
                parent.remove(child)
    names = {each: f"{prefix}-{number}" for number, each in zip(count(), _ids(root))}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        _rename(element, names)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib["id"] = prefix
    root.attrib |= {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    # Everything was parsed and is written anew: names and texts in it are escaped.
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=False))


def _ids(root: ET.Element) -> list[str]:
    return list(dict.fromkeys(each for one in root.iter() if (each := one.get("id")) is not None))


def _rename(element: ET.Element, names: dict[str, str]) -> None:
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        arm = _ARM.match(value) if key == "id" else None
        if arm is not None:
            element.attrib["class"] = arm[1]
            continue
        plain = key.rpartition("}")[2]  # xlink:href has been href since SVG 2
        element.attrib[plain] = _point(plain, value, names)


def _point(key: str, value: str, names: dict[str, str]) -> str:
    if key == "id":
        return names[value]
    if key == "href" and value.startswith("#"):
        return f"#{names[value[1:]]}"
    return _REFERENCE.sub(lambda found: f"url(#{names[found[1]]})", value)
