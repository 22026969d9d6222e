"""How many seeds a verdict takes: known before anything runs, so it needs no statistics library."""

import math

ALPHA = 0.05
"""Family-wise error rate of the verdicts; 1 - ALPHA is the confidence of the intervals."""
MIN_PAIRS_FOR_INTERVAL = 5
"""With fewer pairs there are only the per-seed differences."""


def min_pairs_for_verdict(contrasts: int) -> int:
    """Returns how many pairs a verdict on one of m contrasts takes: 6 for one, 8 for four.

    The smallest n with m 2^(1-n) <= 0.05, and never fewer than an interval takes.
    """
    if contrasts < 1:
        raise ValueError(f"contrasts must be at least 1, received {contrasts}")
    return max(MIN_PAIRS_FOR_INTERVAL, math.ceil(1 + math.log2(contrasts / ALPHA)))
