"""Words that several sentences of a comparison need."""

from abcrl.config.verdicts import ALPHA, min_pairs_for_verdict
from abcrl.config.words import count


def say_too_few(pairs: int, family: int, noun: str) -> str:
    """Returns why so many pairs give no verdict in a family of so many contrasts or margins."""
    return (
        f"{count(pairs, 'seed')} cannot reach p < {ALPHA} with {count(family, noun)}, "
        f"{min_pairs_for_verdict(family)} can"
    )
