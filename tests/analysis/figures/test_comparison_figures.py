"""Training path, paired differences, credit profile and sweep: what is in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from abcrl.analysis import ArmInfo, CellCurve, Contrast, FailedCell, Summary, summarise
from abcrl.analysis.figures.credit_profile import BINS, credit_profile, credit_profiles
from abcrl.analysis.figures.paired_differences import paired_differences
from abcrl.analysis.figures.pictures import Panel, Picture, draw_panel, save_picture
from abcrl.analysis.figures.sweep import SweepAxis, sweep_picture
from abcrl.analysis.figures.training_path import training_path

ARMS = [ArmInfo("abc", "abc", 0.8, 0.95), ArmInfo("rlhf", "rlhf", None, 0.95)]


def curve(arm: str, seed: int, *scores: float, kl: float = 1.0) -> CellCurve:
    metrics = {"eval/score": scores, "eval/kl_exact": tuple(kl * n for n in range(len(scores)))}
    return CellCurve(arm, seed, tuple(range(len(scores))), metrics)


def drawn(panel: Panel) -> list[tuple[list[float], list[float]]]:
    """x and y of every line in a panel."""
    axis = Figure().subplots()
    panel.draw(axis)
    return [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axis.get_lines()
    ]


def test_the_path_joins_mean_kl_and_mean_score_of_each_evaluation():
    curves = [curve("abc", 0, 0.0, 1.0, 3.0), curve("abc", 1, 0.0, 2.0, 5.0, kl=3.0)]
    picture = training_path(ARMS, curves)
    assert picture is not None
    lines = drawn(picture.panels[0])
    assert lines[:2] == [([0, 1, 2], [0, 1, 3]), ([0, 3, 6], [0, 2, 5])]
    assert lines[2:] == [([0, 2, 4], [0, 1.5, 4])]
    assert [str(entry.get_label()) for entry in picture.entries] == ["abc (β 0.8, λ 0.95)"]


def test_without_kl_there_is_no_path():
    assert training_path(ARMS, [CellCurve("abc", 0, (0,), {"eval/score": (1.0,)})]) is None


def contrasted(pairs: int, *, failed: int = 0) -> Summary:
    curves = [curve("abc", seed, 0.0, 1.0 + seed) for seed in range(pairs)]
    curves += [curve("rlhf", seed, 0.0, 0.0) for seed in range(pairs + failed)]
    lost = [FailedCell("abc", pairs + n, "failed", "reason") for n in range(failed)]
    return summarise(ARMS, curves, [Contrast("abc", "rlhf"), Contrast("rlhf", "abc")], lost)


@pytest.mark.parametrize(("pairs", "lines"), [(6, 1 + 2 * 3), (3, 1 + 2 * 2)])
def test_each_contrast_has_its_seeds_its_mean_and_from_five_pairs_an_interval(pairs, lines):
    picture = paired_differences(contrasted(pairs).contrasts)
    assert picture is not None
    found = drawn(picture.panels[0])
    assert len(found) == lines
    assert found[1] == ([(1 + seed) / 2 for seed in range(pairs)], [0] * pairs)
    middle = (1 + pairs) / 4
    assert ([middle], [0]) in found
    assert ([-middle], [-1]) in found
    if pairs == 6:
        low, high = found[2][0]
        assert (low + high) / 2 == pytest.approx(middle)


def test_without_a_pair_there_is_nothing_to_draw():
    assert paired_differences(()) is None
    assert paired_differences(contrasted(0, failed=1).contrasts) is None


def test_a_row_is_added_for_each_contrast():
    few = paired_differences(contrasted(3).contrasts[:1])
    more = paired_differences(contrasted(3).contrasts)
    assert few is not None
    assert more is not None
    assert more.panels[0].height > few.panels[0].height


@pytest.mark.parametrize(
    ("credit", "expected"),
    [
        ([1.0], [0.1] * 10),
        ([0.0, 1.0], [0.0] * 5 + [0.2] * 5),
        ([1.0] + [0.0] * 19, [1.0] + [0.0] * 9),
        # Three tokens: the second covers 3.33 to 6.67 tenths.
        ([0.0, 1.0, 0.0], [0, 0, 0, 0.2, 0.3, 0.3, 0.2, 0, 0, 0]),
    ],
)
def test_a_token_covers_its_part_of_the_response(credit, expected):
    assert credit_profile([credit]) == pytest.approx(expected)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=30), min_size=1, max_size=4))
def test_shares_add_up_and_uniform_credit_is_flat(rows):
    credits = [[one / sum(row) for one in row] for row in rows]
    profile = credit_profile(credits)
    assert len(profile) == BINS
    assert sum(profile) == pytest.approx(1)
    assert min(profile) >= -1e-12
    uniform = [[1 / len(row)] * len(row) for row in rows]
    assert credit_profile(uniform) == pytest.approx([1 / BINS] * BINS)


def test_sparse_arms_are_named_and_not_drawn():
    last = [0.0] * 9 + [1.0]
    profiles = {"abc": {0: [0.1] * 10, 1: [0.1] * 10}, "rlhf": {0: last}}
    picture = credit_profiles(ARMS, profiles)
    assert picture is not None
    assert picture.caption.endswith("on the last token: rlhf.")
    assert [str(entry.get_label()) for entry in picture.entries] == ["abc (β 0.8, λ 0.95)"]
    middles = [0.05 + n / 10 for n in range(10)]
    [(x, y), uniform] = drawn(picture.panels[0])
    assert x == pytest.approx(middles)
    assert y == pytest.approx([0.1] * 10)
    assert uniform == ([0, 1], [0.1, 0.1])
    assert credit_profiles(ARMS, {"rlhf": {0: last}}) is None
    assert credit_profiles(ARMS, {}) is None


def swept() -> tuple[SweepAxis, Summary]:
    names = ["abc@kl.coef=0.1", "abc@kl.coef=0.2", "rlhf"]
    arms = [ArmInfo(name, "abc", 0.8, 0.95) for name in names]
    curves = [curve(name, seed, n + seed) for n, name in enumerate(names) for seed in (0, 1)]
    del curves[3]  # the second seed at 0.2
    axis = SweepAxis(
        "kl.coef", ("0.1", "0.2"), {"abc": [[names[0]], [names[1]]], "rlhf": [["rlhf"]] * 2}
    )
    return axis, summarise(arms, curves, [])


def test_a_sweep_has_a_line_for_each_base_arm_over_the_values_as_given():
    axis, summary = swept()
    picture = sweep_picture(axis, summary)
    assert [panel.name for panel in picture.panels] == ["score", "kl"]
    assert [str(entry.get_label()) for entry in picture.entries] == ["abc", "rlhf"]
    assert drawn(picture.panels[0]) == [([0, 1], [0.5, 1.0]), ([0, 1], [2.5, 2.5])]
    assert drawn(picture.panels[1]) == [([0, 1], [0.0, 0.0])] * 2
    assert "other swept values" not in picture.caption


def test_of_other_swept_keys_the_mean_is_drawn():
    _, summary = swept()
    names = [one.arm.name for one in summary.arms[:2]]
    picture = sweep_picture(SweepAxis("reward.beta", ("0.8",), {"abc": [names]}), summary)
    # Seed 1 is not known at both points, so seed 0 alone counts: (0 + 1) / 2.
    assert drawn(picture.panels[0]) == [([0], [0.5])]
    assert "other swept values" in picture.caption


def test_every_picture_can_be_written(tmp_path):
    axis, summary = swept()
    curves = [curve("abc", seed, 0.0, 1.0) for seed in (0, 1)]
    profiles = {"abc": {0: [0.1] * 10}}
    pictures = [
        training_path(ARMS, curves),
        paired_differences(contrasted(6).contrasts),
        credit_profiles(ARMS, profiles),
        sweep_picture(axis, summary),
    ]
    for picture in pictures:
        assert isinstance(picture, Picture)
        png, svg = save_picture(picture, tmp_path / picture.name)
        assert png.stat().st_size > 10_000
        assert "<svg" in svg.read_text()
        assert all("<svg" in draw_panel(panel) for panel in picture.panels)


@pytest.mark.parametrize(
    ("seeds", "evaluations", "lines", "said"),
    [
        (6, 3000, 7, "Thin lines: each seed"),
        (7, 3000, 1, "Too many runs for a line each."),
        (1, 18_001, 2, "Of each 2 evaluations one is drawn."),
    ],
)
def test_very_many_points_are_thinned_and_the_caption_says_so(seeds, evaluations, lines, said):
    steps = tuple(range(evaluations))
    curves = [
        CellCurve("abc", seed, steps, {"eval/score": steps, "eval/kl_exact": steps})
        for seed in range(seeds)
    ]
    picture = training_path(ARMS, curves)
    assert picture is not None
    assert said in picture.caption
    assert ("Thin lines" in picture.caption) == (seeds > 1 and lines > 1)
    found = drawn(picture.panels[0])
    assert len(found) == lines
    for x, y in found:
        assert x == y
        assert (x[0], x[-1]) == (0, evaluations - 1)
        assert len(x) == (evaluations if evaluations == 3000 else 9001)


def test_names_and_values_are_text_whatever_signs_they_hold(tmp_path):
    hostile = "$x_{1$ \\frac"
    names = [f"abc-{hostile}{n}" for n in range(2)]
    arms = [ArmInfo(name, "abc", 0.8, 0.95) for name in names]
    curves = [curve(name, seed, 0.0, 1.0) for name in names for seed in (0, 1)]
    summary = summarise(arms, curves, [Contrast(names[0], names[1])])
    axis = SweepAxis(hostile, (hostile, "$\\sqrt{}$"), {hostile: [[names[0]], [names[1]]]})
    pictures = [
        training_path(arms, curves),
        paired_differences(summary.contrasts),
        credit_profiles(arms, {name: {0: [0.1] * 10} for name in names}),
        sweep_picture(axis, summary),
    ]
    for number, picture in enumerate(pictures):
        assert picture is not None
        save_picture(picture, tmp_path / f"{number}", title=hostile)
        svg = "".join(draw_panel(panel) for panel in picture.panels)
        assert picture.name != f"sweep-{hostile}" or f"<!-- {hostile} -->" in svg
