import pytest

from abcrl.analysis import ArmInfo, CellCurve, Contrast, Summary, summarise
from abcrl.tools.report.cards import make_cards

ARMS = [ArmInfo(name, "abc", 0.8, 0.95) for name in ("a", "b", "c")]


def summary(a: list[float], *, seeds_of_b: int, contrasts: list[Contrast]) -> Summary:
    scores = {"a": a, "b": [0.0] * seeds_of_b, "c": []}
    curves = [
        CellCurve(arm, seed, (0,), {"eval/score": (value,)})
        for arm, values in scores.items()
        for seed, value in enumerate(values)
    ]
    return summarise(ARMS, curves, contrasts)


def test_positions_are_percentages_of_one_scale():
    # Differences -1 and 3: from -1 to 3 with 4 % of 4 at each end, 4.32 in all.
    found = summary([-1.0, 3.0], seeds_of_b=2, contrasts=[Contrast("a", "b")])
    [card] = make_cards(found)
    assert card.points == pytest.approx((100 * 0.16 / 4.32, 100 * 4.16 / 4.32))
    assert card.zero == pytest.approx(100 * 1.16 / 4.32)
    assert card.mean == pytest.approx(100 * 2.16 / 4.32)
    assert card.ends is None
    assert card.said == "no verdict: too few seeds"
    assert not card.decided


def test_a_found_difference_has_an_interval_and_says_its_direction():
    found = summary([1.0, 1.1, 1.2, 0.9, 1.0, 1.1], seeds_of_b=6, contrasts=[Contrast("a", "b")])
    [card] = make_cards(found)
    assert (card.said, card.decided) == ("higher", True)
    assert card.ends is not None
    assert card.mean is not None
    assert 0 < card.zero < card.ends[0] < card.mean < card.ends[1] < 100


def test_a_contrast_without_pairs_and_one_without_spread_have_a_place():
    contrasts = [Contrast("a", "c"), Contrast("b", "c")]
    cards = make_cards(summary([0.0], seeds_of_b=1, contrasts=contrasts))
    assert [(card.points, card.mean, card.ends) for card in cards] == [((), None, None)] * 2
    assert cards[0].zero == pytest.approx(50)
