"""Made-up comparisons: endpoints of arms and seeds whose true differences are known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np

from abcrl.analysis import Contrast, Margin
from abcrl.analysis.statistics import Floats
from abcrl.config import CompareConfig, load_config

SEED_SPREAD: Final = 3.0
"""Standard deviation of what a seed adds to all of its arms; that of an arm's own noise is 1."""
LARGE: Final = 20.0
"""A difference that no test misses, standard deviations of an arm's noise."""
SHARE: Final = 0.2
"""Of another contrast, as a margin; for "content does not matter", of abc - rlhf."""
_COLLAPSED: Final = 0.15
_COLLAPSE_DEPTH: Final = 6.0
_HH_SMALL: Final = Path(__file__).parents[1] / "hh-small" / "compare.yaml"

Noise = Callable[[np.random.Generator, tuple[int, int]], Floats]
Grid = dict[str, dict[int, float]]
"""For each arm, the endpoint by seed; a cell without a result is absent."""


def draw_normal(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Returns standard normal noise."""
    return generator.normal(size=size)


def draw_skewed(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Returns lognormal noise with mean 0 and variance 1; its skewness is 6.2."""
    mean, variance = np.exp(0.5), (np.e - 1) * np.e
    return (generator.lognormal(size=size) - mean) / np.sqrt(variance)


def draw_bimodal(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Returns noise of mean 0 and variance 1 of runs of which 15 % collapse, 6 deviations below."""
    gone = generator.random(size) < _COLLAPSED
    values = generator.normal(size=size) - _COLLAPSE_DEPTH * gone + _COLLAPSE_DEPTH * _COLLAPSED
    return values / np.sqrt(1 + _COLLAPSED * (1 - _COLLAPSED) * _COLLAPSE_DEPTH**2)


def draw_unlike(generator: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Returns bimodal noise for the first arm and normal noise for all others.

    Means and variances are equal, but the arms are not exchangeable.
    """
    values = draw_normal(generator, size)
    values[:1] = draw_bimodal(generator, (1, size[1]))
    return values


NOISES: Final[dict[str, Noise]] = {
    "normal": draw_normal,
    "skewed": draw_skewed,
    "bimodal": draw_bimodal,
    "unlike": draw_unlike,
}
"""Of [arms, seeds] cells, with mean 0 and variance 1."""


@dataclass(frozen=True)
class Shape:
    """What a comparison declares before it runs."""

    name: str
    contrasts: tuple[Contrast, ...]
    seeds: range

    @property
    def arms(self) -> list[str]:
        """Arms in the order in which contrasts name them."""
        return list(dict.fromkeys(name for one in self.contrasts for name in one[:2]))

    @property
    def label(self) -> str:
        """Name, contrasts x seeds, as a line of a table begins."""
        return f"{self.name:9} {len(self.contrasts):2} x {len(self.seeds):2}"


def shapes_of_recipes() -> list[Shape]:
    """Returns the built-in experiment, hh-small, and `--modes all --seeds 0-9` without a recipe."""
    with as_file(files("abcrl.config") / "toy.yaml") as file:
        toy = load_config(CompareConfig, file=file)
    hh_small = load_config(CompareConfig, file=_HH_SMALL)
    return [
        shape_of("toy", toy, len(toy.seeds)),
        shape_of("hh-small", hh_small, len(hh_small.seeds)),
        shape_of("all modes", CompareConfig().select_arms(["all"]), 10),
    ]


def shape_of(name: str, config: CompareConfig, seeds: int) -> Shape:
    """Returns the contrasts that a comparison declares, with so many seeds."""
    contrasts = tuple(Contrast(one.arm, one.baseline) for one in config.declared_contrasts)
    return Shape(name, contrasts, range(seeds))


def unrelated(contrasts: int, seeds: int) -> Shape:
    """Returns contrasts that have no arm in common."""
    declared = tuple(Contrast(f"arm-{one}", f"baseline-{one}") for one in range(contrasts))
    return Shape(f"{contrasts} unrelated", declared, range(seeds))


def fixed_margins(shape: Shape) -> tuple[dict[str, float], list[Margin | None]]:
    """Returns arms that all differ, and for each contrast its true difference as the margin."""
    effects = {arm: LARGE * number for number, arm in enumerate(shape.arms)}
    return effects, [
        Margin(abs(effects[one.arm] - effects[one.baseline])) for one in shape.contrasts
    ]


def shared_margins(shape: Shape) -> tuple[dict[str, float], list[Margin | None]]:
    """Returns other differences of the first contrast's arm that are 20 % of the first's."""
    whole = shape.contrasts[0]
    stated = [one != whole and one.arm == whole.arm for one in shape.contrasts]
    effects = {whole.arm: LARGE / SHARE}
    for one, share in zip(shape.contrasts, stated, strict=True):
        if share:
            effects[one.baseline] = (1 - SHARE) * LARGE / SHARE
    margin = Margin(SHARE, (whole.arm, whole.baseline))
    return effects, [margin if share else None for share in stated]


def draw_grid(
    generator: np.random.Generator,
    shape: Shape,
    noise: Noise,
    *,
    effects: Mapping[str, float] | None = None,
    missing: float = 0.0,
) -> Grid:
    """Returns one grid: seed + arm's effect + noise.

    Args:
        generator: Source of everything random.
        shape: Arms and seeds.
        noise: Of the cells.
        effects: By arm, in standard deviations of the noise; 0 unless given.
        missing: Chance of each cell to have no result, whatever it would have been.
    """
    arms, seeds = shape.arms, shape.seeds
    size = (len(arms), len(seeds))
    levels = np.array([(effects or {}).get(arm, 0.0) for arm in arms])
    cells = SEED_SPREAD * generator.normal(size=len(seeds)) + levels[:, None]
    cells = cells + noise(generator, size)
    there = generator.random(size) >= missing
    return {
        arm: {seed: float(cells[row, seed]) for seed in seeds if there[row, seed]}
        for row, arm in enumerate(arms)
    }
