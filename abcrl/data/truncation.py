"""Which training texts the reward model sees unfinished, and where they are cut."""

import random

from abcrl.config import TruncationConfig, stream_seed


def truncation_length(config: TruncationConfig, *, seed: int, index: int) -> int | None:
    """Returns the length in tokens that text `index` is cut to; None leaves it whole."""
    draw = random.Random(stream_seed(seed, "truncation", index))
    if draw.random() >= config.share:
        return None
    return draw.randint(config.min_tokens, config.max_tokens)
