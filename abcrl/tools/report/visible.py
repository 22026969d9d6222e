"""Text that came from a model, a data set or an error, as it may stand on a page."""

import unicodedata


def visible(text: str) -> str:
    r"""Returns the text with everything that acts instead of showing spelled out: `\x1b`, `\u202e`.

    Control characters, marks that change the direction of text, invisible ones, halves of
    surrogate pairs. Spaces, tabs and line feeds stay, and so does what HTML gives a meaning to:
    escaping that is the template's task.
    """
    return "".join(char if _shows(char) else _spell(char) for char in text)


def _shows(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def _spell(char: str) -> str:
    return ascii(char)[1:-1]
