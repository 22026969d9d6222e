"""Numbers in words, for every room that speaks."""


def count(number: int, noun: str) -> str:
    """Returns `1 seed`, `2 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
