"""The README: what it links to is there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("link", LINKS)
def test_what_is_linked_to_is_there(link):
    assert (README.parent / link).exists()


def test_there_are_links():
    assert len(LINKS) > 5
