"""Arguments that the benchmarks share."""

import argparse


def count(text: str) -> int:
    """Returns a whole number from 1, as an argument's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, received {text!r}")
    return int(text)
