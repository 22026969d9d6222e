"""What a verdict is worth where cells have no result: what it would be whatever they said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.analysis import Contrast, Finding, contrast_arms, say_verdict
from abcrl.analysis.contrasts import complete

SEEDS = list(range(8))
RLHF = {seed: 1.0 + seed / 10 for seed in SEEDS}
DECLARED = [Contrast("abc", "rlhf")]


def without(values: dict[int, float], *seeds: int) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if seed not in seeds}


def test_completions_by_hand():
    # Worst and best of all cells: 0 and 5. Seed 2 lacks the arm, seed 3 the baseline, seed 4 both.
    arm, baseline = {1: 2.0, 3: 3.0}, {1: 1.5, 2: 1.0}
    lowest, highest = complete(arm, baseline, seeds=[1, 2, 3, 4], bounds=(0.0, 5.0))
    assert lowest == (0.5, 0.0 - 1.0, 3.0 - 5.0, 0.0 - 5.0)
    assert highest == (0.5, 5.0 - 1.0, 3.0 - 0.0, 5.0 - 0.0)


def test_what_is_complete_is_left_as_it_is():
    pairs = {1: 2.0, 2: 1.0}
    assert complete(pairs, pairs, seeds=[1, 2], bounds=(0, 5)) == [(0.0, 0.0)]


def test_a_clear_difference_stands_without_one_cell():
    # All eight of one sign: p = 2 / 256. At the worst the missing arm has the lowest endpoint, 1,
    # against 1.3: one of eight differences is -.3 beside seven of 2: still far out.
    abc = {seed: value + 2 for seed, value in RLHF.items()}
    (one,) = contrast_arms(DECLARED, {"abc": without(abc, 3), "rlhf": RLHF}, SEEDS)
    assert one.missing == (3,)
    assert len(one.differences) == 7
    assert one.finding is Finding.HIGHER
    # -.3 and seven times 2: as extreme are all signs alike, and those with only the -.3 turned.
    assert one.p_value == 4 / 256


def test_a_difference_that_hangs_on_the_missing_cells_is_no_verdict():
    abc = {seed: value + 0.2 for seed, value in RLHF.items()}
    (one,) = contrast_arms(DECLARED, {"abc": without(abc, 3, 5), "rlhf": RLHF}, SEEDS)
    # At the best the two have the highest endpoint of all, 1.9: eight differences of one sign.
    assert one.finding is Finding.UNDECIDED
    assert say_verdict(one) == (
        "no verdict: abc - rlhf is +0.200 ± 0.000 (95 % interval; 6 pairs); what 2 pairs without "
        "a result could have said would change it"
    )
    assert one.p_value is not None
    assert one.p_value > 0.05


def test_six_pairs_that_are_left_of_eight_need_not_be_enough():
    # Alone, six of one sign have p = 2 / 64.
    abc = {seed: value + 0.2 for seed, value in RLHF.items()}
    six = {"abc": without(abc, 3, 5), "rlhf": RLHF}
    assert contrast_arms(DECLARED, six)[0].finding is Finding.HIGHER
    assert contrast_arms(DECLARED, six, SEEDS)[0].finding is not Finding.HIGHER


def test_noise_stays_noise_without_a_cell():
    signs = (0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.1)
    abc = {seed: RLHF[seed] + sign for seed, sign in zip(SEEDS, signs, strict=True)}
    (one,) = contrast_arms(DECLARED, {"abc": without(abc, 5), "rlhf": RLHF}, SEEDS)
    assert one.finding is Finding.UNDETECTED
    # What could have been found hangs on what the cell might have said: nothing is claimed of it.
    assert one.detectable is None
    assert "could have shown" not in say_verdict(one)


def test_a_seed_that_failed_everywhere_is_missing_too():
    abc = {seed: value + 2 for seed, value in RLHF.items()}
    values = {"abc": without(abc, 7), "rlhf": without(RLHF, 7)}
    (one,) = contrast_arms(DECLARED, values, SEEDS)
    assert one.missing == (7,)
    # The pair could have been the worst of all against the best, 1.0 - 3.6, beside seven of +2. As
    # far out are then all alike, the -2.6 turned or not, and any one of the seven turned with it:
    # p = 2 (1 + 1 + 7) / 256.
    assert one.p_value == 18 / 256
    assert one.finding is Finding.UNDECIDED


def test_too_few_pairs_are_too_few_however_they_are_completed():
    abc = {seed: value + 2 for seed, value in RLHF.items()}
    (one,) = contrast_arms(DECLARED, {"abc": without(abc, 0, 1, 2, 3), "rlhf": RLHF}, SEEDS)
    assert one.p_value is None
    assert one.finding is Finding.TOO_FEW_SEEDS


numbers = st.floats(-5, 5).map(lambda x: round(x, 2))


@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=6, max_size=9),
    st.data(),
)
def test_a_missing_cell_never_makes_a_verdict(pairs, data):
    """Whatever was found with cells missing is what is found once they are known, p no larger."""
    seeds = list(range(len(pairs)))
    shift = data.draw(st.sampled_from([0.0, 6.0]))
    pairs = [(own + shift, *others) for own, *others in pairs]
    arms = {
        name: {seed: three[place] for seed, three in enumerate(pairs)}
        for place, name in enumerate(("abc", "rlhf", "other"))
    }
    gone = data.draw(
        st.sets(st.tuples(st.sampled_from(sorted(arms)), st.sampled_from(seeds)), max_size=3)
    )
    partial = {
        name: without(endpoint, *(seed for arm, seed in gone if arm == name))
        for name, endpoint in arms.items()
    }
    observed = [value for endpoint in partial.values() for value in endpoint.values()]
    inside = st.floats(min(observed), max(observed))
    whole = {
        name: endpoint | {seed: data.draw(inside) for arm, seed in sorted(gone) if arm == name}
        for name, endpoint in partial.items()
    }
    declared = [*DECLARED, Contrast("other", "rlhf")]
    before, after = (contrast_arms(declared, values, seeds) for values in (partial, whole))
    for early, late in zip(before, after, strict=True):
        if early.finding is not Finding.UNDECIDED and early.p_value is not None:
            assert late.finding is early.finding
        if early.p_value is not None:
            assert early.adjusted_p is not None
            assert late.p_value is not None
            assert late.adjusted_p is not None
            assert late.p_value <= early.p_value
            assert late.adjusted_p <= early.adjusted_p


def test_at_worst_the_missing_cell_leaves_no_difference_at_all():
    # Of seven pairs three are up by .3 and four down; the eighth may make their sum what it wants.
    abc = {seed: RLHF[seed] + (0.3 if seed < 3 else -0.2) for seed in SEEDS}
    (one,) = contrast_arms(DECLARED, {"abc": without(abc, 7), "rlhf": RLHF}, SEEDS)
    assert one.p_value == 1
    assert one.finding is Finding.UNDETECTED


def test_what_holm_leaves_hangs_on_the_missing_cells_of_other_contrasts():
    # One of abc's eight pairs is -.3 beside seven of 2: p = 4 / 256. Holm makes 16 / 256 = .063 of
    # that beside three contrasts that may have p = 1; had these turned out as clear as they can,
    # 2 / 256 each, it would be 4 * 2 / 256 = .031.
    declared = [Contrast(name, "rlhf") for name in ("abc", "b", "c", "d")]
    clear = {seed: value + 2 for seed, value in RLHF.items()}
    values = {"rlhf": RLHF, "abc": {**clear, 3: RLHF[3] - 0.3}}
    values |= {name: without(clear, 0, 1, 2) for name in "bcd"}
    first, *others = contrast_arms(declared, values, SEEDS)
    assert first.p_value == 4 / 256
    assert all(one.finding is Finding.UNDECIDED for one in others)
    assert first.adjusted_p == pytest.approx(4 * 4 / 256)
    assert first.finding is Finding.UNDECIDED
    assert "what cells of other contrasts without a result could have said" in say_verdict(first)


@pytest.mark.parametrize("missing", [(), (2,)])
def test_the_family_counts_a_contrast_at_its_worst(missing):
    abc = {seed: value + 2 for seed, value in RLHF.items()}
    other = {seed: value + 3 for seed, value in RLHF.items()}
    declared = [Contrast("abc", "rlhf"), Contrast("other", "rlhf")]
    values = {"abc": abc, "other": without(other, *missing), "rlhf": RLHF}
    first, second = contrast_arms(declared, values, SEEDS)
    assert first.adjusted_p is not None
    assert second.p_value is not None
    assert first.adjusted_p == pytest.approx(2 * 2 / 256)
    assert second.p_value == pytest.approx((4 if missing else 2) / 256)
