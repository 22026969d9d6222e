"""The tables that `abcrl compare` prints beside its verdicts, on cells made up by hand."""

import io

import pytest
from abcrl_cli.secondary_table import explain_secondary, secondary_table
from abcrl_cli.tables import arms_table, per_seed_tables, say_lost
from rich.console import Console
from rich.table import Table

from abcrl.analysis import ArmInfo, CellCurve, Contrast, FailedCell, summarise
from abcrl.analysis.collect import Summary

ARMS = [ArmInfo("abc", "abc", 0.8, 0.95), ArmInfo("rlhf", "rlhf", None, 0.95)]
CONTRASTS = [Contrast("abc", "rlhf")]


def cell(arm: str, seed: int, *scores: float) -> CellCurve:
    """Steps 0, 10, 20; KL 0, 4, 8: the scores at 2, 4 and 6 nats lie on straight lines."""
    kls = (0.0, 4.0, 8.0)
    return CellCurve(arm, seed, (0, 10, 20), {"eval/score": scores, "eval/kl_exact": kls})


def text(table: Table | None, width: int = 80) -> list[str]:
    assert table is not None
    console = Console(width=width, markup=False, file=io.StringIO(), record=True)
    console.print(table)
    return [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]


def summary(*curves: CellCurve, failed: tuple[FailedCell, ...] = ()) -> Summary:
    return summarise(ARMS, curves, CONTRASTS, failed)


def test_contrasts_at_equal_kl_and_in_steps_have_intervals_and_no_verdict():
    # rlhf gains 2 in each seed, so 1.8 is the mark: after 18 steps. abc of seed s is there after
    # 18 / (2 + s / 2) steps of its first straight line, and scores (1 + s / 4) x KL / 2.
    curves = [cell("rlhf", seed, 0.0, 1.0, 2.0) for seed in range(5)]
    curves += [cell("abc", seed, 0.0, 2.0 + seed / 2, 4.0 + seed) for seed in range(5)]
    found = summary(*curves)
    title, head, _, line = text(secondary_table(found))
    assert "no verdict" in title
    assert head == "difference at 2.0 nats at 4.0 nats at 6.0 nats steps to gain"
    # Differences at 2 nats .5, .75, 1, 1.25, 1.5: mean 1, s = .395, t(4) = 2.776.
    assert line.startswith("abc - rlhf +1.00 ± 0.49 +2.00 ± 0.98 +3.00 ± 1.47 -11.6")
    assert explain_secondary(found) == [
        "KL: 25, 50, 75 % of the lowest of all runs' peak KLs (abc seed 0); scores where a "
        "run first crosses it",
        "gain: to +1.80, 90 % of what rlhf gains",
    ]


def test_cells_that_do_not_arrive_are_counted():
    curves = [cell("rlhf", 0, 0.0, 1.0, 2.0), cell("rlhf", 1, 0.0, 1.0, 2.0)]
    curves += [cell("abc", 0, 0.0, 0.5, 1.0), cell("abc", 1, 0.0, 2.0, 3.0)]
    found = summary(*curves)
    # In steps: 20 - 18 and 9 - 18. Two pairs have no interval.
    assert "abc - rlhf +0.12 +0.25 +0.12 -3.5" in text(secondary_table(found))
    late = explain_secondary(found)[-1]
    assert late.endswith("; not reached (counted as step 20) by abc in 1 of 2 runs")


def test_without_kl_gain_or_contrasts_there_is_no_such_table():
    kls = {"eval/kl_exact": (0.0, 0.0)}
    flat = [
        CellCurve(arm, 0, (0, 10), {"eval/score": (1.0, 1.0), **kls}) for arm in ("abc", "rlhf")
    ]
    found = summary(*flat)
    assert secondary_table(found) is None
    assert [line.split(": ")[:2] for line in explain_secondary(found)] == [
        ["scores at equal KL", "not comparable"],
        ["steps to most of the gain", "not comparable"],
    ]
    gains = [cell("rlhf", 0, 0.0, 1.0, 2.0), cell("abc", 0, 0.0, 1.0, 2.0)]
    undeclared = summarise(ARMS, gains, [])
    assert secondary_table(undeclared) is None
    assert explain_secondary(undeclared) == []


def test_collapsed_runs_are_marked_and_cells_without_a_result_named():
    curves = [cell("rlhf", 0, 1.0, -1.0, -2.0), cell("abc", 0, 1.0, 1.0, 2.0)]
    lost = FailedCell("abc", 1, "failed", "loss is nan")
    [table] = per_seed_tables(summary(*curves, failed=(lost,)), 80)
    shown = text(table)
    assert "abc +1.25 failed +1.25" in shown
    assert any(line.startswith("rlhf -0.75*") for line in shown)
    assert "* collapsed: ended below the SFT model" in " ".join(shown)


def test_the_arms_table_says_over_how_many_seeds_where_cells_are_lost():
    curves = [cell("rlhf", seed, 0.0, 1.0, 2.0) for seed in range(2)]
    curves.append(cell("abc", 0, 0.0, 1.0, 2.0))
    assert "seeds" not in text(arms_table(summary(curves[0], curves[2])))[1]
    lost = [FailedCell("abc", 1, "failed", "loss is nan"), FailedCell("rlhf", 2, "killed", "")]
    found = summary(*curves, failed=tuple(lost))
    _, head, *lines = text(arms_table(found))
    assert head.startswith("arm beta lambda seeds AUC")
    assert any(line.startswith("abc 0.8 0.95 1 +1.00") for line in lines)
    assert say_lost(found) == [
        "failed: abc seed 1: loss is nan",
        "missing: abc seed 2: no reason known",
        "killed: rlhf seed 2: no reason known",
        "failed cells run again with --retry-failed",
        "killed and missing cells go on, or run again, with the next call",
    ]


def test_nothing_is_marked_where_nothing_collapsed():
    [table] = per_seed_tables(summary(cell("abc", 0, 0.0, 1.0, 2.0)), 80)
    assert "*" not in "".join(text(table))


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("length", [3, 30, 64])
def test_no_number_is_cut_however_long_the_names_and_many_the_seeds(width, length):
    arms = [ArmInfo(f"{letter}" * length, "abc", 0.8, 0.95) for letter in "ab"]
    lost = FailedCell(arms[0].name, 11, "interrupted", "")
    curves = [
        CellCurve(arm.name, seed, (0, 10), {"eval/score": (0.0, 2.0 * seed)})
        for arm in arms
        for seed in range(12)
        if (arm.name, seed) != (lost.arm, lost.seed)
    ]
    tables = per_seed_tables(summarise(arms, curves, [], [lost]), width)
    shown = " ".join(line for table in tables for line in text(table, width))
    assert "…" not in shown
    assert [f"seed {seed}" in shown for seed in range(12)] == [True] * 12
    assert all(shown.count(f"+{seed}.00") >= 2 for seed in range(11))
    assert "interrupted" in shown
    assert shown.count("median") == 1
