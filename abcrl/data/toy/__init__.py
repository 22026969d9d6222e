"""The built-in toy movie reviews: a small grammar that knows the true sentiment of any text.

A review reports, mostly, and judges now and then; a few words decide (lexicon.py), the rest tells
the plot (plot.py). What the words add up to is written out in gold.py.
"""

from .gold import causal_spans, gold_score
from .grammar import DEFAULT_COUNT, LABEL_SHARPNESS, Review, generate_pairs, generate_reviews

__all__ = [
    "DEFAULT_COUNT",
    "LABEL_SHARPNESS",
    "Review",
    "causal_spans",
    "generate_pairs",
    "generate_reviews",
    "gold_score",
]
