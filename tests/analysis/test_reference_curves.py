"""Our training curves beside somebody else's, on numbers that can be worked out by hand."""

from collections.abc import Sequence

import pytest

from abcrl.analysis import ArmInfo
from abcrl.analysis.reference_curves import hold_against, match_arms, require_counterpart
from abcrl.analysis.reference_file import ReferenceCurves, TrainingCurve
from abcrl.config import InputError

ABC = ArmInfo("abc", "abc", 0.8, 0.95)
RLHF = ArmInfo("rlhf", "rlhf", None, 0.95)
LAMBDA1 = ArmInfo("rlhf-lambda1", "rlhf", None, 1.0)
UNIFORM = ArmInfo("uniform-0.8", "uniform", 0.8, 0.95)


def reference(**arms: Sequence[tuple[float, ...]]) -> ReferenceCurves:
    runs = [
        TrainingCurve(arm.replace("_", "-"), seed, score)
        for arm, scores in arms.items()
        for seed, score in enumerate(scores)
    ]
    return ReferenceCurves("imdb", "curves.json", tuple(runs))


def named(*names: str) -> ReferenceCurves:
    runs = tuple(TrainingCurve(name, 0, (1.0,)) for name in names)
    return ReferenceCurves("imdb", "curves.json", runs)


def ours(*arms: tuple[str, Sequence[tuple[float, ...]]]) -> list[TrainingCurve]:
    return [TrainingCurve(arm, seed, row) for arm, rows in arms for seed, row in enumerate(rows)]


def test_means_are_over_the_steps_that_both_sides_have():
    # Ours have three steps, theirs two: the third of ours counts nowhere.
    compared = hold_against(
        [ABC, RLHF],
        ours(("abc", [(1, 3, 99), (3, 5, 99)]), ("rlhf", [(1, 1, 99), (3, 3, 99)])),
        reference(abc=[(2, 4), (4, 10)], rlhf=[(2, 2), (4, 4)]),
    )
    assert (compared.steps, compared.baseline, compared.left_out) == (2, "rlhf", ())
    abc, rlhf = compared.arms
    assert (abc.ours.auc, rlhf.ours.auc) == (3.0, 2.0)  # (2 + 4) / 2, (1 + 3) / 2
    assert abc.theirs is not None
    assert rlhf.theirs is not None
    assert (abc.theirs.auc, rlhf.theirs.auc) == (5.0, 3.0)  # (3 + 7) / 2, (2 + 4) / 2
    assert abc.ours.difference is not None
    assert abc.ours.difference.differences == (1.0, 1.0)
    assert abc.theirs.difference is not None
    assert abc.theirs.difference.differences == (1.0, 3.0)
    assert abc.theirs.difference.mean == 2.0
    assert rlhf.ours.difference is None
    assert rlhf.theirs.difference is None
    assert [run.score for run in abc.ours.runs] == [(1, 3), (3, 5)]


def test_the_end_is_the_mean_of_the_last_ten_common_steps():
    rising = tuple(float(step) for step in range(1, 16))  # the last ten: 6 to 15
    compared = hold_against(
        [ABC], ours(("abc", [(*rising, 1000.0)])), reference(abc=[rising, (0.0,) * 15])
    )
    [abc] = compared.arms
    assert abc.theirs is not None
    assert (abc.ours.last, abc.theirs.last) == (10.5, 5.25)
    assert (abc.ours.auc, abc.theirs.auc) == (8.0, 4.0)
    assert compared.baseline is None
    assert abc.ours.difference is None


def test_differences_are_of_the_seeds_that_both_arms_have():
    runs = [
        *(TrainingCurve("abc", seed, (10.0 + seed,)) for seed in range(6)),
        *(TrainingCurve("rlhf", seed, (2.0 * seed,)) for seed in (1, 2, 3, 4, 5, 9)),
    ]
    compared = hold_against([ABC, RLHF], runs, named("abc"))
    difference = compared.arms[0].ours.difference
    assert difference is not None
    assert difference.seeds == (1, 2, 3, 4, 5)
    assert difference.differences == (9.0, 8.0, 7.0, 6.0, 5.0)
    # t_{0.975, 4} = 2.776; s = sqrt(2.5), n = 5.
    assert difference.interval is not None
    assert difference.interval.half_width == pytest.approx(2.776445 * (2.5 / 5) ** 0.5)


def test_below_five_pairs_there_is_no_interval():
    rows = [(1.0,), (2.0,), (3.0,), (5.0,)]
    compared = hold_against(
        [ABC, RLHF], ours(("abc", rows), ("rlhf", rows[::-1])), named("abc", "rlhf")
    )
    difference = compared.arms[0].ours.difference
    assert difference is not None
    assert (difference.mean, difference.interval) == (0.0, None)


def test_runs_that_are_no_pairs_give_no_difference():
    theirs = ReferenceCurves(
        "x", "c.json", (TrainingCurve("abc", 0, (1.0,)), TrainingCurve("rlhf", 1, (2.0,)))
    )
    one = [(1.0,)]
    compared = hold_against([ABC, RLHF], ours(("abc", one), ("rlhf", one)), theirs)
    side = compared.arms[0].theirs
    assert side is not None
    assert side.difference is not None
    assert side.difference.mean is None


@pytest.mark.parametrize(
    ("arm", "names", "counterpart"),
    [
        (ABC, ("abc", "rlhf"), "abc"),
        # A name is enough, whatever the arm's beta and lambda.
        (ArmInfo("abc", "abc", 0.5, 1.0), ("abc",), "abc"),
        # By its mode only with the paper's settings.
        (ArmInfo("mine", "abc", 0.8, 0.95), ("abc", "rlhf"), "abc"),
        (ArmInfo("mine", "abc", 0.5, 0.95), ("abc", "rlhf"), None),
        (ArmInfo("mine", "uniform", 1.0, 0.95), ("uniform",), "uniform"),
        (UNIFORM, ("uniform",), None),
        (LAMBDA1, ("rlhf", "abc"), None),
        # Betas.
        (ABC, ("1.0", "0.8", "0.0"), "0.8"),
        (RLHF, ("1.0", "0.8", "0.0"), "0.0"),
        (ArmInfo("abc-0", "abc", 0.0, 0.95), ("0.0",), "0.0"),
        (UNIFORM, ("0.8",), None),
        (ABC, ("nan", "inf", "0.7"), None),
    ],
)
def test_an_arm_finds_its_counterpart(arm, names, counterpart):
    assert match_arms([arm], named(*names)).get(arm.name) == counterpart


def test_a_name_goes_before_a_mode_and_nothing_is_given_twice():
    twin = ArmInfo("twin", "abc", 0.8, 0.95)
    assert match_arms([twin, ABC], named("abc")) == {"abc": "abc"}
    assert match_arms([twin, ArmInfo("other", "abc", 0.8, 0.95)], named("abc")) == {"twin": "abc"}


def test_what_one_side_alone_has_is_shown_or_named():
    one = [(1.0, 2.0)]
    compared = hold_against(
        [RLHF, LAMBDA1, ABC],  # abc has no finished run
        ours(("rlhf", one), ("rlhf-lambda1", one)),
        reference(rlhf=one, abc=one, abc_d=one),
    )
    assert [(arm.arm.name, arm.counterpart) for arm in compared.arms] == [
        ("rlhf", "rlhf"),
        ("rlhf-lambda1", None),
    ]
    assert compared.arms[1].theirs is None
    assert compared.left_out == ("abc", "abc-d")


def test_the_baseline_is_the_sparse_arm_that_has_a_counterpart():
    one = [(1.0,)]
    compared = hold_against(
        [LAMBDA1, RLHF], ours(("rlhf-lambda1", one), ("rlhf", one)), named("rlhf")
    )
    assert compared.baseline == "rlhf"
    alone = hold_against([LAMBDA1, ABC], ours(("rlhf-lambda1", one), ("abc", one)), named("abc"))
    assert alone.baseline == "rlhf-lambda1"
    assert alone.arms[1].ours.difference is not None
    assert alone.arms[1].theirs is not None
    assert alone.arms[1].theirs.difference is None


def test_a_reference_without_any_of_our_arms_is_refused():
    require_counterpart([UNIFORM, ABC], named("abc"))
    with pytest.raises(InputError) as caught:
        require_counterpart([UNIFORM, LAMBDA1], named("rlhf", "uniform"))
    assert str(caught.value).startswith("--against: must have curves of an arm compared here ")
    assert "(uniform-0.8, rlhf-lambda1), received imdb with rlhf, uniform;" in str(caught.value)


def test_there_is_nothing_to_compare_without_a_run_that_was_trained():
    for runs in ([], [TrainingCurve("abc", 0, ())]):
        with pytest.raises(ValueError, match="a finished run of at least a step"):
            hold_against([ABC], runs, named("abc"))
