"""What a verdict names beside its numbers."""

import pytest

from abcrl.analysis import Contrast, Finding, contrast_arms, summarise
from abcrl.analysis.notes import unequal_inputs
from abcrl.storage import Earlier
from tests.analysis.made_up_cells import ABC, CONTRASTS, CURVES, RLHF, cell


def test_what_was_seen_before_stands_in_every_verdict():
    late = {frozenset(("abc", "rlhf")): "declared after a look"}
    earlier = Earlier(("seeds added after a look at 1",), 2, late)
    summary = summarise([ABC, RLHF], CURVES, CONTRASTS, earlier=earlier)
    (verdict,) = summary.verdicts
    assert "; seeds added after a look at 1; declared after a look)" in verdict
    assert [one.family for one in summary.contrasts] == [3]


def test_dropped_contrasts_stay_in_the_family():
    # All six of one sign: p = 2 / 64, which one contrast survives and two do not.
    values = {"abc": dict.fromkeys(range(6), 0.3), "rlhf": dict.fromkeys(range(6), 0.0)}
    (alone,) = contrast_arms(CONTRASTS, values)
    (dropped,) = contrast_arms(CONTRASTS, values, also_declared=1)
    assert (alone.adjusted_p, alone.finding) == (2 / 64, Finding.HIGHER)
    assert (dropped.adjusted_p, dropped.finding) == (4 / 64, Finding.TOO_FEW_SEEDS)
    assert dropped.family == 2


def test_dropped_contrasts_count_as_the_least_certain():
    # Eight of one sign: p = 2 / 256, the smallest of three; Holm takes it times three.
    values = {"abc": dict.fromkeys(range(8), 0.3), "rlhf": dict.fromkeys(range(8), 0.0)}
    (one,) = contrast_arms(CONTRASTS, values, also_declared=2)
    assert one.adjusted_p == pytest.approx(6 / 256)


@pytest.mark.parametrize(
    ("own", "other", "named", "note"),
    [
        ({"policy": "a"}, {"policy": "a"}, (), None),
        ({"policy": "a"}, {}, (), None),
        ({"policy": "a"}, {"policy": "b"}, ("policy",), "models"),
        ({"policy {}": "a"}, {"policy {lora}": "b"}, (), None),
        ({"policy {}": "a"}, {"policy {}": "b"}, ("policy",), "models"),
        ({"reward_model": "a"}, {"reward_model": "b"}, ("reward_model",), "models"),
        ({"texts": "a"}, {"texts": "b"}, ("texts",), "texts"),
        (
            {"texts": "a", "policy": "c"},
            {"texts": "b", "policy": "d"},
            ("policy", "texts"),
            "models and texts",
        ),
    ],
)
def test_cells_that_ran_on_other_models_are_named(own, other, named, note):
    curves = [
        *(cell(ABC, seed, 0.0, 1.0, inputs=own) for seed in (1, 2)),
        cell(RLHF, 1, 0.0, 1.0, inputs=own),
        cell(RLHF, 2, 0.0, 1.0, inputs=other),
    ]
    summary = summarise([ABC, RLHF], curves, CONTRASTS)
    assert summary.unequal_inputs == named
    said = f"cells with the same seed ran on different {note}"
    assert (said in summary.verdicts[0]) == (note is not None)
    assert ("different" in summary.verdicts[0]) == (note is not None)


def test_each_seed_may_have_its_own():
    curves = [
        cell(arm, seed, 0.0, inputs={"policy": str(seed)}) for arm in (ABC, RLHF) for seed in (1, 2)
    ]
    assert unequal_inputs(curves) == ()


def test_a_verdict_speaks_of_its_own_two_arms():
    other = {"policy": "b"}
    curves = [cell(RLHF, 1, 0.0, 1.0, inputs={"policy": "a"}), cell(ABC, 1, 0.0, 1.0, inputs=other)]
    third = type(ABC)("uniform", "uniform", 1.0, 0.95)
    curves.append(cell(third, 1, 0.0, 1.0, inputs=other))
    contrasts = [Contrast("abc", "rlhf"), Contrast("abc", "uniform")]
    verdicts = summarise([ABC, RLHF, third], curves, contrasts).verdicts
    assert ["different models" in verdict for verdict in verdicts] == [True, False]
