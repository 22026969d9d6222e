"""What differs between the arms of a comparison, and what its runs ran on."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abcrl.config import Cell, InputError, PpoConfig, flatten, load_config, read_yaml
from abcrl.config.relocation import follow_move
from abcrl.storage import read_environment, read_last_row, read_status

_OF_THE_RUN = ("run.output", "run.seed")


@dataclass(frozen=True)
class Setting:
    """A key of the configuration that is not the same in all arms."""

    key: str
    values: tuple[str, ...]
    """One for each arm, in their order."""


@dataclass(frozen=True)
class Fact:
    """Something about the machine or the data, as environment.json has it."""

    name: str
    values: tuple[tuple[str, int], ...]
    """Each value with the number of runs that have it; one where all agree."""
    equal_in_pairs: bool
    """Whether it is the same in all runs that share a seed, and are compared with each other."""

    @property
    def differs(self) -> bool:
        """Whether the runs do not agree."""
        return len(self.values) > 1


@dataclass(frozen=True)
class Stage:
    """What the runs stand on: the SFT model or the reward model."""

    name: str
    model: str
    """Folder, or Hub id."""
    status: str | None
    """Of the run that trained it; None for a model that existed before."""
    metrics: Mapping[str, object]
    """The last row of its metrics."""

    @classmethod
    def read(cls, name: str, model: str) -> "Stage":
        """Returns a stage by its model; one that lies in a run folder's final/ has that run."""
        run = Path(model).parent
        status = read_status(run) if Path(model).name == "final" else None
        row = read_last_row(run, "metrics") if status else None
        return cls(name, model, status, row or {})


def differing_between_arms(cells: Sequence[Cell], *, troubles: list[str]) -> tuple[Setting, ...]:
    """Returns the settings in which arms differ in effect, as their run folders record them.

    Two arms of which one names a default and the other leaves it null do not differ; two that leave
    beta to modes with other defaults do.

    Args:
        cells: One for each arm, in their order. Of a cell that has not begun, what was planned.
        troubles: Gets a line for each record that cannot be read; what was planned stands for it.
    """
    settings = [_effective(_recorded(cell, troubles)) for cell in cells]
    keys = dict.fromkeys(key for one in settings for key in one if key not in _OF_THE_RUN)
    rows = {key: tuple(say_value(one.get(key)) for one in settings) for key in keys}
    return tuple(Setting(key, values) for key, values in rows.items() if len(set(values)) > 1)


def _recorded(cell: Cell, troubles: list[str]) -> PpoConfig:
    file = cell.folder / "config.yaml"
    if not file.is_file():
        return cell.run
    try:
        recorded = load_config(PpoConfig, file=file)
    except InputError as error:
        troubles.append(f"{cell.key}: {cut_folder(error, cell.folder)}")
        return cell.run
    return follow_move(recorded, Path(recorded.run.output), cell.run, cell.folder)


def _effective(run: PpoConfig) -> dict[str, object]:
    """Returns the settings by dotted key, null only where nothing or a model's default is meant."""
    beta, algorithm = run.reward.effective_beta, run.ppo
    return flatten(run.model_dump(mode="json")) | {
        "reward.beta": "none" if beta is None else beta,
        "ppo.micro_batch_size": algorithm.micro_batch_size or algorithm.mini_batch_size,
    }


def say_ending(status: str, reason: str) -> str:
    """Returns how a run ended, to be put behind its name; nothing where it is finished."""
    return "" if status == "finished" else f": {status}" + (f", {reason}" if reason else "")


def cut_folder(error: InputError, folder: Path) -> str:
    """Returns what is wrong in a folder that is named already, on one line."""
    return "; ".join(str(error).replace(f"{folder}{os.sep}", "").splitlines())


def all_settings(file: Path) -> tuple[Setting, ...]:
    """Returns every setting in a run's config.yaml."""
    return tuple(
        Setting(key, (say_value(value),)) for key, value in flatten(read_yaml(file)).items()
    )


def read_facts(runs: Sequence[tuple[int, Path]]) -> tuple[Fact, ...]:
    """Returns what the environments of runs say; a run without one says nothing.

    Args:
        runs: Seed and folder of each.
    """
    read = [(seed, read_environment(folder)) for seed, folder in runs]
    environments = [(seed, flatten(one)) for seed, one in read if one]
    names = dict.fromkeys(name for _, one in environments for name in one)
    return tuple(
        _as_fact(name, [(seed, say_value(one.get(name))) for seed, one in environments])
        for name in names
    )


def _as_fact(name: str, values: Sequence[tuple[int, str]]) -> Fact:
    seeds = {seed for seed, _ in values}
    counts = Counter(value for _, value in values).most_common()
    return Fact(name, tuple(counts), equal_in_pairs=len(set(values)) == len(seeds))


def say_value(value: Any) -> str:  # noqa: ANN401 - whatever YAML or JSON holds
    """Returns a value of a configuration or a record as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
