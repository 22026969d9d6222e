"""Which evaluations a cell needs in order to count."""

import pytest

from abcrl.analysis import CellCurve
from abcrl.analysis.cells import account_for_cells
from tests.analysis.made_up_cells import ABC, RLHF

ALL = (0, 10, 20, 30)


def curve(arm: str, seed: int, steps: tuple[int, ...]) -> CellCurve:
    return CellCurve(arm, seed, steps, {"eval/score": tuple(float(step) for step in steps)})


def reasons(*curves: CellCurve) -> dict[str, str]:
    cells = account_for_cells([ABC, RLHF], curves, [])
    return {
        f"{cell.arm.name} {cell.seed}": cell.reason for cell in cells if cell.status == "failed"
    }


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((0, 10, 30), "not evaluated at step 20, the others were"),
        ((0, 10, 15, 20, 30), "evaluated at step 15, the others not"),
        ((0, 10, 25, 30), "evaluated at step 25, the others not"),
        ((0, 10, 20), "evaluated from step 0 to 20, the others from 0 to 30"),
        ((10, 20, 30), "evaluated from step 10 to 30, the others from 0 to 30"),
        (
            (0, 20, 10, 30),
            "its evaluations are not in the order of their steps, or one is there twice",
        ),
        (
            (0, 10, 10, 30),
            "its evaluations are not in the order of their steps, or one is there twice",
        ),
    ],
)
def test_a_cell_evaluated_at_other_steps_does_not_count(steps, reason):
    found = reasons(curve("abc", 1, steps), *(curve("rlhf", seed, ALL) for seed in (1, 2)))
    assert found == {"abc 1": reason}


@pytest.mark.parametrize("first", ["abc", "rlhf"])
@pytest.mark.parametrize(
    "shorter",
    [(0, 10, 20), (10, 20, 30), (0, 10, 30), (0, 30)],
)
def test_of_sets_that_are_as_common_the_longest_is_right_whichever_arm_has_it(first, shorter):
    second = "rlhf" if first == "abc" else "abc"
    found = reasons(curve(first, 1, shorter), curve(second, 1, ALL))
    assert list(found) == [f"{first} 1"]


def test_the_longer_range_comes_before_more_evaluations():
    found = reasons(curve("abc", 1, (0, 5, 10, 15, 20)), curve("rlhf", 1, (0, 15, 30)))
    assert list(found) == ["abc 1"]


def test_what_most_cells_have_is_right_even_if_it_is_short():
    shorter = [curve("abc", seed, (0, 10)) for seed in (1, 2)]
    assert list(reasons(*shorter, curve("rlhf", 1, ALL))) == ["rlhf 1"]
