"""Draws the paper's released curves, a figure for each experiment: `python plot_curves.py`.

Curves are running means over 5 steps of the training score, mean over seeds, with a band of one
standard error; behind them nothing is smoothed: the numbers of the right panels are plain means.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from abcrl.analysis.figures.look import (
    LOOK,
    PNG_DPI,
    Floats,
    Style,
    draw_mean,
    legend_line,
    style_of,
)
from abcrl.analysis.reference_file import ReferenceCurves, TrainingCurve, read_reference_curves

HERE = Path(__file__).parent
CURVES = HERE / "curves.json"
ARMS = ("abc", "rlhf", "uniform", "abc-d", "abc-d2")
LENGTHS = ("20-30", "40-60", "90-110", "140-160")
SHOWN_BETAS = ("1.0", "0.8", "0.5", "0.2", "0.0")
WINDOW = 5
PATH_STEPS = 50
LAST = 10
CAPTION = f"Lines: running mean of {WINDOW} steps, mean over seeds; bands: ± 1 standard error."


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes every figure into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=HERE, metavar="FOLDER")
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(LOOK):
        for name, steps in (("imdb", 101), ("tldr", 201), ("openllama", 201)):
            save(draw_runs(read(name), steps), folder / f"{name}.png")
        save(draw_betas(read("beta_sweep")), folder / "beta-sweep.png")
        lengths = [read(f"generation_length/{length}") for length in LENGTHS]
        save(draw_lengths(lengths), folder / "generation-length.png")
        save(draw_kl(read("kl_tradeoff")), folder / "kl-tradeoff.png")


def read(name: str) -> ReferenceCurves:
    """Returns one experiment."""
    return read_reference_curves(f"{CURVES}:{name}")


def runs_of(curves: ReferenceCurves, arm: str) -> list[TrainingCurve]:
    """Returns an arm's runs, by seed."""
    return [run for run in curves.runs if run.arm == arm]


def table_of(runs: Sequence[TrainingCurve], metric: str = "score") -> Floats:
    """Returns `[runs, steps]`; what a shorter run lacks is NaN."""
    rows = [getattr(run, metric) for run in runs]
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def smooth(table: Floats) -> tuple[Floats, Floats]:
    """Returns the steps in the middle of each window, and the running means `[runs, steps - 4]`."""
    windows = np.lib.stride_tricks.sliding_window_view(table, WINDOW, axis=1)
    return np.arange(windows.shape[1]) + 1 + WINDOW // 2, windows.mean(axis=-1)


def draw_curve(axis: Axes, style: Style, runs: Sequence[TrainingCurve], steps: int) -> None:
    """Draws one arm's training score up to a step."""
    middle, table = smooth(table_of(runs)[:, :steps])
    draw_mean(axis, style, middle, table)


def draw_points(axis: Axes, place: float, style: Style, values: Floats) -> None:
    """Draws a point for each run beside the line of their mean."""
    offsets = np.linspace(-0.18, 0.18, len(values))
    axis.plot(place + offsets, values, style.marker, color=style.color, markersize=4.5, alpha=0.75)
    axis.hlines(values.mean(), place - 0.32, place + 0.32, color=style.color, linewidth=2.2)


def draw_runs(curves: ReferenceCurves, steps: int) -> Figure:
    """Score by step, and the AUC of every run over the first steps."""
    arms = [arm for arm in ARMS if arm in curves.arms]
    figure, (left, right) = new_figure(2, widths=(1.5, 1))
    for position, arm in enumerate(arms):
        runs = runs_of(curves, arm)
        draw_curve(left, style_of(position), runs, min(len(run.score) for run in runs))
        values = table_of(runs)[:, :steps].mean(axis=1)
        draw_points(right, position, style_of(position), values)
    describe(left, "Training score", "PPO step", "reward model's score")
    describe(right, f"Mean of the first {steps} steps", "", "")
    right.set_xticks(range(len(arms)), arms, rotation=25, ha="right")
    right.set_xlim(-0.6, len(arms) - 0.4)
    return finish(figure, [legend_line(style_of(n), arm) for n, arm in enumerate(arms)], CAPTION)


def draw_betas(curves: ReferenceCurves) -> Figure:
    """Score by step for some betas, and the mean of every run for all of them."""
    figure, (left, right) = new_figure(2, widths=(1.25, 1.25))
    handles = []
    for position, beta in enumerate(SHOWN_BETAS):
        runs = runs_of(curves, beta)
        draw_curve(left, style_of(position), runs, len(runs[0].score))
        handles.append(legend_line(style_of(position), f"β {float(beta):g}"))
    for arm in curves.arms:
        values = table_of(runs_of(curves, arm)).mean(axis=1)
        shown = arm in SHOWN_BETAS
        style = style_of(SHOWN_BETAS.index(arm)) if shown else Style(0, "#666666", "-", "o")
        draw_points(right, 10 * float(arm), style, values)
    describe(left, "Training score", "PPO step", "reward model's score")
    describe(right, "Mean of all 251 steps", "β of abc (0: rlhf)", "")
    right.set_xticks(range(0, 11, 2), [f"{n / 10:g}" for n in range(0, 11, 2)])
    return finish(figure, handles, CAPTION)


def draw_lengths(experiments: Sequence[ReferenceCurves]) -> Figure:
    """Score by step, a panel for each range of response lengths."""
    figure, panels = new_figure(4, widths=(1, 1, 1, 1), share=True)
    for axis, length, curves in zip(panels, LENGTHS, experiments, strict=True):
        for position, arm in enumerate(ARMS):
            runs = runs_of(curves, arm)
            draw_curve(axis, style_of(position), runs, len(runs[0].score))
        describe(axis, f"{length} tokens", "PPO step", "")
    panels[0].set_ylabel("training score")
    return finish(figure, [legend_line(style_of(n), arm) for n, arm in enumerate(ARMS)], CAPTION)


def draw_kl(curves: ReferenceCurves) -> Figure:
    """KL by step, every run; and the median score against the median KL along training."""
    figure, (left, right) = new_figure(2, widths=(1, 1))
    for position, arm in enumerate(ARMS):
        style = style_of(position)
        runs = runs_of(curves, arm)
        _, kl = smooth(table_of(runs, "kl"))
        middle, score = smooth(table_of(runs))
        for row in kl:
            left.plot(middle, row, color=style.color, linewidth=0.8, alpha=0.6)
        draw_path(right, style, np.median(kl, axis=0), np.median(score, axis=0))
    left.set_yscale("symlog", linthresh=30)
    left.set_yticks([-300, -100, -20, 0, 20], ["-300", "-100", "-20", "0", "20"])
    left.minorticks_off()
    describe(left, "Estimated KL, each run", "PPO step", "nats per response")
    describe(right, "Score against KL", "KL, nats per response", "training score")
    caption = (
        f"Running means of {WINDOW} steps; right: medians over ten seeds, to step {PATH_STEPS} "
        f"and, the large marker, over the last {LAST} steps."
    )
    return finish(figure, [legend_line(style_of(n), arm) for n, arm in enumerate(ARMS)], caption)


def draw_path(axis: Axes, style: Style, kl: Floats, score: Floats) -> None:
    """Draws score against KL while both rise, and where they end."""
    axis.plot(
        kl[:PATH_STEPS],
        score[:PATH_STEPS],
        color=style.color,
        linestyle=style.dashes,
        linewidth=1.8,
    )
    axis.plot(
        kl[-LAST:].mean(),
        score[-LAST:].mean(),
        style.marker,
        color=style.color,
        markersize=10,
        markeredgecolor="white",
        zorder=5,
    )


def new_figure(
    panels: int, *, widths: Sequence[float], share: bool = False
) -> tuple[Figure, list[Axes]]:
    """Returns a figure as wide as a README, and its panels."""
    figure = Figure(figsize=(11 if panels > 2 else 8.6, 3.9))
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        1, panels, squeeze=False, sharey=share, gridspec_kw={"width_ratios": widths}
    )
    return figure, list(axes[0])


def describe(axis: Axes, title: str, x: str, y: str) -> None:
    """Titles a panel."""
    axis.set_title(title, loc="left", fontweight="bold")
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def finish(figure: Figure, handles: Sequence[mpl.lines.Line2D], caption: str) -> Figure:
    """Puts legend and caption below the panels."""
    figure.legend(
        handles=list(handles),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.055),
        ncols=len(handles),
        handlelength=3.0,
        columnspacing=1.6,
    )
    figure.text(0.5, 0.015, caption, ha="center", va="bottom", fontsize=9.5, color="#444444")
    figure.tight_layout(rect=(0, 0.14, 1, 1), w_pad=1.5)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Writes a PNG that is the same from day to day."""
    figure.savefig(file, dpi=PNG_DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
