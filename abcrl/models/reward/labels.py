"""Which of a classifier's two labels is the good one."""

from collections.abc import Mapping

from abcrl.config import InputError

# Names that judge on their own, as sentiment, preference and safety classifiers call their labels.
_BAD_AND_GOOD = (
    ("negative", "positive"),
    ("neg", "pos"),
    ("bad", "good"),
    ("worse", "better"),
    ("rejected", "chosen"),
    ("dispreferred", "preferred"),
    ("unhelpful", "helpful"),
    ("harmful", "harmless"),
    ("unsafe", "safe"),
    ("incorrect", "correct"),
)
# Names that say something beside each other only: 1 is the best of 0 and 1, the worst of 1 and 2.
_PAIRS = (("0", "1"), ("no", "yes"), ("false", "true"))


def positive_index(id2label: Mapping[int, str], positive_label: str | int | None) -> int:
    """Returns the index of the label whose logit raises the score, 0 or 1.

    Without `positive_label` the names decide, in any case of letters, where they leave no doubt:
    one is good and the other is not, or one is bad and the other is not. Good are positive, pos,
    good, better, chosen, preferred, helpful, harmless, safe and correct; bad are their opposites
    negative, neg, bad, worse, rejected, dispreferred, unhelpful, harmful, unsafe and incorrect.
    As a pair only: yes and no, true and false, 1 and 0.

    Args:
        id2label: Two labels by index, as in a model's configuration.
        positive_label: The good label's name (in any case of letters) or index; None: see above.

    Raises:
        InputError: It is neither of the two, or they do not say which one is good.
    """
    names = [id2label[0].strip().lower(), id2label[1].strip().lower()]
    shown = f"{id2label[0]} (0) and {id2label[1]} (1)"
    if positive_label is not None:
        return _index_of(positive_label, names, shown)
    difference = _goodness(names[1], names[0]) - _goodness(names[0], names[1])
    if difference == 0:
        raise InputError(
            f"score.positive_label: must say which label is the good one where their names do not, "
            f"received nothing for a reward model with the labels {shown}; name it, e.g. "
            f"--set score.positive_label=1"
        )
    return int(difference > 0)


def _goodness(name: str, other: str) -> int:
    for bad, good in _BAD_AND_GOOD:
        if name in (bad, good):
            return 1 if name == good else -1
    return 1 if (other, name) in _PAIRS else 0


def _index_of(positive_label: str | int, names: list[str], shown: str) -> int:
    if isinstance(positive_label, int):
        found = [int(positive_label)] if positive_label in (0, 1) else []
    else:
        wanted = positive_label.strip().lower()
        found = [index for index, name in enumerate(names) if name == wanted]
    if len(found) != 1:
        raise InputError(
            f"score.positive_label: must be one of the reward model's labels, {shown}, by name or "
            f"by index, received {positive_label!r}; choose one of these"
        )
    return found[0]
