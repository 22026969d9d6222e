"""Numbers in words, as several sentences of a comparison need them."""

from abcrl.config.verdicts import ALPHA, min_pairs_for_verdict


def count(number: int, noun: str) -> str:
    """Returns `1 seed`, `2 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say_too_few(pairs: int, family: int, noun: str) -> str:
    """Returns why so many pairs give no verdict in a family of so many contrasts or margins."""
    return (
        f"{count(pairs, 'seed')} cannot reach p < {ALPHA} with {count(family, noun)}, "
        f"{min_pairs_for_verdict(family)} can"
    )
