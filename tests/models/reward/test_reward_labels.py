"""Which label is the good one: told by its name where that leaves no doubt, or configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import InputError
from abcrl.models.reward.labels import positive_index

TOLD = [
    ("negative", "positive"),
    ("NEGATIVE", "POSITIVE"),
    ("Neg", "Pos"),
    ("bad", "good"),
    ("rejected", "chosen"),
    ("dispreferred", "preferred"),
    ("unhelpful", "helpful"),
    ("harmful", "harmless"),
    ("no", "yes"),
    ("False", "True"),
    ("0", "1"),
    # One name is enough where the other judges nothing.
    ("neutral", "positive"),
    ("negative", "neutral"),
    ("other", "chosen"),
]
UNTOLD = [
    ("LABEL_0", "LABEL_1"),
    ("1", "2"),
    ("yes", "maybe"),
    ("contradiction", "entailment"),
    ("good", "helpful"),
    ("bad", "negative"),
    ("good", "good"),
]


def labels(*names: str) -> dict[int, str]:
    return dict(enumerate(names))


@pytest.mark.parametrize(("bad", "good"), TOLD)
def test_names_that_judge_tell_the_good_label_in_either_order(bad, good):
    assert positive_index(labels(bad, good), None) == 1
    assert positive_index(labels(good, bad), None) == 0


@pytest.mark.parametrize("names", UNTOLD)
def test_names_that_leave_a_doubt_are_refused_in_one_line(names):
    for order in (names, names[::-1]):
        with pytest.raises(InputError) as refused:
            positive_index(labels(*order), None)
        assert str(refused.value) == (
            "score.positive_label: must say which label is the good one where their names do not, "
            f"received nothing for a reward model with the labels {order[0]} (0) and {order[1]} "
            "(1); name it, e.g. --set score.positive_label=1"
        )


@pytest.mark.parametrize("names", [*UNTOLD[:-1], *TOLD])
def test_the_configured_label_goes_before_what_names_say(names):
    for index, name in enumerate(names):
        for given_label in (index, name, name.upper(), name.lower()):
            assert positive_index(labels(*names), given_label) == index


@given(names=st.tuples(st.text(), st.text()), positive=st.none() | st.text() | st.integers())
def test_exchanging_the_labels_exchanges_the_answer(names, positive):
    def answer(order: tuple[str, str], label: str | int | None) -> int | None:
        try:
            return positive_index(labels(*order), label)
        except InputError:
            return None

    exchanged = 1 - positive if isinstance(positive, int) else positive
    first, second = answer(names, positive), answer(names[::-1], exchanged)
    assert first in (None, 0, 1)
    assert second == (None if first is None else 1 - first)


@pytest.mark.parametrize("unknown", ["happy", "", 2, -1, "1"])
def test_what_is_no_label_is_refused_and_the_labels_are_named(unknown):
    with pytest.raises(InputError) as refused:
        positive_index(labels("negative", "positive"), unknown)
    assert str(refused.value) == (
        "score.positive_label: must be one of the reward model's labels, negative (0) and positive "
        f"(1), by name or by index, received {unknown!r}; choose one of these"
    )


def test_a_name_that_both_labels_have_is_refused():
    with pytest.raises(InputError, match=r"^score.positive_label: must be one of"):
        positive_index(labels("good", "Good"), "good")
    assert positive_index(labels("good", "Good"), 1) == 1
