"""A bag of words to hold a reward model against: what counting words alone achieves."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum, log

# Letters, digits and underscores, and an apostrophe (of either shape) between them: "don't".
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SMOOTHING = 1


@dataclass(frozen=True)
class NaiveBayes:
    """Log-odds that add up over the words of a text."""

    prior: float
    """b = log(N+ / N-): the log-odds of a text without a known word."""
    ratios: Mapping[str, float]
    """r, the log-count ratio of each word of the training texts."""

    def log_odds(self, text: str) -> float:
        """Returns r * x + b, positive for a text that is rather positive; 0 is a tie.

        x is 1 for each word that the text contains, however often. Words that no training text
        contained say nothing.
        """
        # fsum rounds once, at the end: the order of a set of strings differs between processes.
        known = (self.ratios[word] for word in distinct_words(text) if word in self.ratios)
        return fsum([self.prior, *known])


def fit_naive_bayes(texts: Iterable[str], positive: Iterable[bool]) -> NaiveBayes:
    """Returns binarised multinomial naive Bayes with Laplace smoothing and the texts' class prior.

    Section 2.1 of Wang and Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic
    Classification", ACL 2012. With f_i the indicator of the words of text i,

        p = alpha + sum of f_i over positive texts,  q = alpha + sum of f_i over negative texts
        r = log((p / |p|_1) / (q / |q|_1)),  b = log(N+ / N-),  alpha = 1.

    Deviation: unigrams only (the paper adds bigrams, which see a little of the order).

    Args:
        texts: Training texts; read once.
        positive: Whether each is positive.

    Raises:
        ValueError: There is no text of one of the classes.
    """
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    sizes = Counter[bool]()
    for text, label in zip(texts, positive, strict=True):
        counts[label].update(distinct_words(text))
        sizes[label] += 1
    if not sizes[True] or not sizes[False]:
        raise ValueError(
            f"naive Bayes needs texts of both classes, received {sizes[True]} positive and "
            f"{sizes[False]} negative ones"
        )
    vocabulary = counts[True].keys() | counts[False].keys()
    masses = {
        label: counts[label].total() + _SMOOTHING * len(vocabulary) for label in (True, False)
    }

    def log_share(word: str, label: bool) -> float:  # noqa: FBT001 - a label, not a switch
        return log((counts[label][word] + _SMOOTHING) / masses[label])

    return NaiveBayes(
        prior=log(sizes[True]) - log(sizes[False]),
        ratios={word: log_share(word, True) - log_share(word, False) for word in vocabulary},
    )


def distinct_words(text: str) -> set[str]:
    """Returns the lower-cased words of a text.

    The baseline is weaker than it could be in scripts without spaces, where a whole run of letters
    is a word, and in those that write vowels as combining marks, where these end a word.
    """
    return {word.lower() for word in _WORD.findall(text)}
