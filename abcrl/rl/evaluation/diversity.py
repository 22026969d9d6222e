"""How much responses repeat: each other, and themselves. Pure functions on token ids."""

from collections.abc import Sequence


def distinct_n(responses: Sequence[Sequence[int]], n: int) -> float:
    """Returns the share of different n-grams among all n-grams of the responses together.

    |unique n-grams| / |n-grams|, Li et al. 2016, arXiv 1510.03055 ("distinct-n"). No n-gram crosses
    two responses. It falls with the number of responses and with their length, so it compares only
    equal numbers of responses.

    Args:
        responses: Token ids of each response.
        n: Tokens per n-gram, at least 1.

    Returns:
        0 to 1; near 0: the policy repeats itself. 0 where no response has n tokens.
    """
    grams = [gram for ids in responses for gram in _n_grams(ids, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition_n(response: Sequence[int], n: int) -> float:
    """Returns the share of a response's n-grams that have occurred in it before.

    1 - |unique n-grams| / |n-grams|, Welleck et al. 2020, arXiv 1908.04319 ("seq-rep-n").

    Args:
        response: Token ids.
        n: Tokens per n-gram, at least 1.

    Returns:
        0 to 1; 0 where the response has fewer than n tokens: nothing in it can have come again.
    """
    grams = _n_grams(response, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _n_grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
