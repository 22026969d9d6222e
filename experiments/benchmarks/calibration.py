"""Whether the statistics of `abcrl compare` are right as often as they say.

Grids whose truth is known go through the functions that judge a comparison. Counted are verdicts
without an effect, claims of "no difference" about differences as large as the margin, intervals
that hold the true mean, and effects of the detectable size that are found.
Run: python calibration.py --help
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from arguments import count
from calibration_grids import (
    LARGE,
    NOISES,
    Noise,
    Shape,
    draw_grid,
    fixed_margins,
    shapes_of_recipes,
    shared_margins,
    unrelated,
)

from abcrl.analysis import Finding, Margin, contrast_arms
from abcrl.analysis.equivalence import examine_margins
from abcrl.analysis.statistics import MIN_PAIRS_FOR_BOOTSTRAP, detectable_effect, student_interval
from abcrl.config.verdicts import ALPHA

DIRECTIONS: Final = {Finding.HIGHER, Finding.LOWER}
MISSING: Final = 0.05
COVERAGE_PAIRS: Final = (6, 8, 10, MIN_PAIRS_FOR_BOOTSTRAP)
POWER_AT: Final = ((6, 1), (7, 1), (8, 1), (10, 1), (14, 1), (8, 5), (9, 5), (10, 5), (10, 8))
"""Pairs and declared contrasts."""
TITLES: Final = {
    "verdicts": "verdicts without an effect: grids with any (contrasts x seeds)",
    "margins": 'differences at the margin: grids in which any is called "less"',
    "intervals": "95 % intervals that hold the true mean",
    "power": "the detectable effect is found: grids in which",
}
ALIKE: Final = tuple(name for name in NOISES if name != "unlike")
"""Noises that all arms have alike."""

Count = Callable[[np.random.Generator], bool | None]
"""Draws one grid; whether what is counted happened, or None where it could not."""


class Rate(NamedTuple):
    """How often something happened."""

    hits: int
    grids: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.hits / self.grids

    @property
    def standard_error(self) -> float:
        """Of the share, by the binomial distribution."""
        return math.sqrt(self.share * (1 - self.share) / self.grids)

    def __str__(self) -> str:
        return f"{100 * self.share:5.2f} ± {100 * self.standard_error:.2f}"


class Line(NamedTuple):
    """A line of a table: what was simulated, and a rate or a number for each column."""

    what: str
    cells: Mapping[str, Rate | float | None]
    """None where there is nothing to count."""


@dataclass(frozen=True)
class Simulation:
    """How many grids, from which random numbers; every rate has its own."""

    generator: np.random.Generator
    grids: int

    def measure(self, happens: Count) -> Rate | None:
        """Returns how often it happened; None where it never could."""
        drawn = (happens(self.generator) for _ in range(self.grids))
        found = [one for one in drawn if one is not None]
        return Rate(sum(found), len(found)) if found else None

    def measure_all(self, counts: Mapping[str, Count]) -> dict[str, Rate | float | None]:
        """Returns the rate of each column."""
        return {column: self.measure(one) for column, one in counts.items()}


def find_without_effect(
    shape: Shape,
    noise: Noise,
    *,
    effects: Mapping[str, float] | None = None,
    missing: float = 0.0,
) -> Count:
    """Counts grids in which any contrast whose true difference is 0 is given a direction."""
    levels = dict.fromkeys(shape.arms, 0.0) | dict(effects or {})
    null = [levels[one.arm] == levels[one.baseline] for one in shape.contrasts]

    def happens(generator: np.random.Generator) -> bool | None:
        grid = draw_grid(generator, shape, noise, effects=effects, missing=missing)
        judged = contrast_arms(shape.contrasts, grid, shape.seeds)
        named = [one.finding in DIRECTIONS for one in judged]
        return any(found for found, true in zip(named, null, strict=True) if true)

    return happens if any(null) else _never


def claim_at_margin(
    shape: Shape, noise: Noise, effects: Mapping[str, float], margins: Sequence[Margin | None]
) -> Count:
    """Counts grids in which any contrast is called smaller than its margin."""
    pairs = zip(shape.contrasts, margins, strict=True)
    contrasts = [one._replace(margin=margin) for one, margin in pairs]

    def happens(generator: np.random.Generator) -> bool | None:
        grid = draw_grid(generator, shape, noise, effects=effects)
        found = examine_margins(contrasts, grid, shape.seeds)
        return any(one.equivalence.shown for one in found if one.equivalence is not None)

    return happens if any(margins) else _never


def cover(pairs: int, noise: Noise, *, bootstrap: bool = False) -> Count:
    """Counts samples of differences whose 95 % interval holds their true mean."""
    shape = unrelated(1, pairs)

    def happens(generator: np.random.Generator) -> bool | None:
        drawn = noise(generator, (1, pairs))[0].tolist()
        values = {"arm-0": dict(enumerate(drawn)), "baseline-0": dict.fromkeys(shape.seeds, 0.0)}
        (found,) = contrast_arms(shape.contrasts, values, shape.seeds)
        interval = found.bootstrap if bootstrap else found.interval
        return None if interval is None else interval.low <= 0 <= interval.high

    return happens


def claimed_effect(pairs: int, contrasts: int) -> float:
    """Returns the detectable effect of differences with a standard deviation of exactly 1."""
    spread = np.linspace(-1, 1, pairs)
    return detectable_effect((spread / spread.std(ddof=1)).tolist(), contrasts=contrasts)


def find_effect(pairs: int, contrasts: int, noise: Noise, *, student: bool = False) -> Count:
    """Counts grids in which the one contrast with the detectable effect is found to be higher.

    Args:
        pairs: Seeds.
        contrasts: Declared; the others have no effect and no arm in common with it.
        noise: Of the arms, whose difference has a standard deviation of 1.
        student: By Student's interval at the same Bonferroni level instead of the verdict.
    """
    shape = unrelated(contrasts, pairs)
    scale = math.sqrt(2)  # of the difference of two arms, in units of one arm's noise
    effects = {"arm-0": scale * claimed_effect(pairs, contrasts)}

    def happens(generator: np.random.Generator) -> bool | None:
        grid = draw_grid(generator, shape, noise, effects=effects)
        found = contrast_arms(shape.contrasts, grid, shape.seeds)[0]
        if not student:
            return found.finding is Finding.HIGHER
        return student_interval(found.differences, confidence=1 - ALPHA / contrasts).low > 0

    return happens


def _never(generator: np.random.Generator) -> None:
    """There is nothing to count."""


def false_verdicts(shapes: Sequence[Shape], simulation: Simulation) -> Iterator[Line]:
    """Yields, for each shape and noise, how often a contrast without an effect got a verdict."""
    for shape in shapes:
        elsewhere = {shape.contrasts[0].baseline: LARGE}
        for name, noise in NOISES.items():
            counts = {
                "no effect": find_without_effect(shape, noise),
                "5 % missing": find_without_effect(shape, noise, missing=MISSING),
                "effect elsewhere": find_without_effect(shape, noise, effects=elsewhere),
            }
            yield Line(f"{shape.label} {name}", simulation.measure_all(counts))


def false_equalities(shapes: Sequence[Shape], simulation: Simulation) -> Iterator[Line]:
    """Yields how often a difference at the margin was called smaller."""
    for shape in shapes:
        for name, noise in NOISES.items():
            counts = {
                "fixed margin": claim_at_margin(shape, noise, *fixed_margins(shape)),
                "share of another": claim_at_margin(shape, noise, *shared_margins(shape)),
            }
            yield Line(f"{shape.label} {name}", simulation.measure_all(counts))


def coverages(simulation: Simulation, resampled: int) -> Iterator[Line]:
    """Yields how often the interval held the true mean; of fewer grids with a bootstrap."""
    fewer = replace(simulation, grids=resampled)
    for pairs in COVERAGE_PAIRS:
        counts = {name: cover(pairs, NOISES[name]) for name in ALIKE}
        drawn = simulation if pairs < MIN_PAIRS_FOR_BOOTSTRAP else fewer
        yield Line(f"Student, {pairs} pairs", drawn.measure_all(counts))
    pairs = MIN_PAIRS_FOR_BOOTSTRAP
    counts = {name: cover(pairs, NOISES[name], bootstrap=True) for name in ALIKE}
    yield Line(f"BCa, {pairs} pairs", fewer.measure_all(counts))


def powers(simulation: Simulation) -> Iterator[Line]:
    """Yields how often the verdict says so of an effect that is called detectable."""
    for pairs, contrasts in POWER_AT:
        student = find_effect(pairs, contrasts, NOISES["normal"], student=True)
        verdicts = {
            f"verdict, {name}": find_effect(pairs, contrasts, NOISES[name]) for name in ALIKE
        }
        rates = simulation.measure_all({"Student, normal": student, **verdicts})
        effect = claimed_effect(pairs, contrasts)
        yield Line(f"{pairs:2} pairs, contrast 1 of {contrasts}", {"effect / s": effect, **rates})


def lines_of(name: str, simulation: Simulation, resampled: int) -> Iterator[Line]:
    """Returns the lines of a table, which are measured as they are asked for."""
    match name:
        case "verdicts":
            return false_verdicts(shapes_of_recipes(), simulation)
        case "margins":
            return false_equalities(shapes_of_recipes(), simulation)
        case "intervals":
            return coverages(simulation, resampled)
        case _:
            return powers(simulation)


def print_table(title: str, lines: Iterator[Line]) -> list[Line]:
    """Prints a table line by line, as it is measured; returns its lines."""
    print(f"\n{title}")
    printed: list[Line] = []
    for line in lines:
        if not printed:
            print(f"{'':25}" + "".join(f"{column:>18}" for column in line.cells))
        shown = [_show(cell) for cell in line.cells.values()]
        print(f"{line.what:25}" + "".join(f"{cell:>18}" for cell in shown), flush=True)
        printed.append(line)
    return printed


def _show(cell: Rate | float | None) -> str:
    if cell is None:
        return "-"
    return str(cell) if isinstance(cell, Rate) else f"{cell:.3f}"


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the settings; a wrong one ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description="How often the statistics of a comparison are wrong, on made-up grids.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--tables", nargs="+", choices=list(TITLES), default=list(TITLES))
    add("--grids", type=count, default=2000, help="grids or samples of each number")
    add("--resampled", type=count, default=1000, help="samples with a bootstrap interval")
    add("--seed", type=count, default=1, help="of everything random")
    add("--json", type=Path, metavar="FILE", help="also write settings and counts there")
    settings = parser.parse_args(arguments)
    if settings.json is not None and not settings.json.parent.is_dir():
        parser.error(f"--json must be in an existing folder, received {settings.json}; make it")
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables and, if asked for, writes the counts."""
    settings = read_arguments(arguments)
    print(f"{settings.grids} grids a number; % ± standard error of the simulation")
    printed = {}
    for name in settings.tables:
        # Each table has the same numbers whatever others are asked for.
        simulation = Simulation(np.random.default_rng(settings.seed), settings.grids)
        printed[name] = print_table(TITLES[name], lines_of(name, simulation, settings.resampled))
    if settings.json is not None:
        given = {key: value for key, value in vars(settings).items() if key != "json"}
        found = {
            name: [{"what": line.what, **line.cells} for line in lines]
            for name, lines in printed.items()
        }
        settings.json.write_text(json.dumps({"settings": given, "tables": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
