"""From a folder to everything its report says, as plain data. Writes nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from abcrl.analysis import ArmInfo, CellCurve, FailedCell, Summary, summarise
from abcrl.analysis.comparison import Comparison, read_comparison
from abcrl.analysis.credit_profile import Profiles, credit_profile
from abcrl.analysis.sweep_figure import SweepAxis
from abcrl.config import (
    Cell,
    CompareConfig,
    InputError,
    PpoConfig,
    load_config,
    plan_cells,
    read_yaml,
)
from abcrl.config.arms import sweep_points
from abcrl.storage import is_ppo_run, read_reason, read_rows, read_status

from .facts import Fact, Setting, Stage, all_settings, differing_between_arms, read_facts
from .samples import CellSamples, Locator, Samples, choose_samples


@dataclass(frozen=True)
class Report:
    """Everything that a report says."""

    title: str
    folder: Path
    is_comparison: bool
    found: Comparison
    settings: tuple[Setting, ...]
    """Of a comparison those in which its arms differ, of a run all of them."""
    stages: tuple[Stage, ...]
    facts: tuple[Fact, ...]
    samples: Samples = field(default_factory=Samples)
    profiles: Profiles = field(default_factory=dict)
    sweep: tuple[SweepAxis, ...] = ()

    @property
    def summary(self) -> Summary:
        """Arms, contrasts, verdicts, cells."""
        return self.found.summary

    @property
    def arms(self) -> Sequence[ArmInfo]:
        """In the order of the tables."""
        return self.found.arms

    @property
    def finished(self) -> int:
        """Number of cells that count."""
        return sum(cell.finished for cell in self.summary.cells)


def read_report(folder: Path) -> Report:
    """Returns what there is to report of a comparison or of one PPO run, finished or not.

    Args:
        folder: As `abcrl compare` or `abcrl ppo` wrote it; it may have been moved since.

    Raises:
        InputError: The folder is neither, or its config.yaml is not valid.
    """
    folder = folder.absolute()
    if is_ppo_run(folder):
        return _of_run(folder, load_config(PpoConfig, file=folder / "config.yaml"))
    if not _is_comparison(folder):
        raise InputError(
            f"folder: must hold a comparison or a PPO run, received {folder}; give what abcrl "
            f"compare or abcrl ppo has written"
        )
    config = load_config(CompareConfig, file=folder / "config.yaml")
    return _of_comparison(folder, config.replace(output=str(folder)))


def _is_comparison(folder: Path) -> bool:
    file = folder / "config.yaml"
    return file.is_file() and {"arms", "seeds", "ppo"} <= read_yaml(file).keys()


def _of_comparison(folder: Path, config: CompareConfig) -> Report:
    cells = plan_cells(config)
    found = read_comparison(config, _recorded_reasons(folder))
    one_each = [cell for cell in cells if cell.seed == config.seeds[0]]
    samples = _read_samples(cells, found.arms)
    models = one_each[0].run
    return Report(
        title=f"{_count(len(found.arms), 'arm')}, {_count(len(config.seeds), 'seed')}",
        folder=folder,
        is_comparison=True,
        found=found,
        settings=differing_between_arms(one_each),
        stages=(
            Stage.read("SFT model", models.policy),
            Stage.read("Reward model", models.reward_model),
        ),
        facts=read_facts([(cell.seed, cell.folder) for cell in cells]),
        samples=choose_samples(samples, _locate(cells)),
        profiles=_profiles(samples, found),
        sweep=_sweep(config),
    )


def _of_run(folder: Path, run: PpoConfig) -> Report:
    arm = ArmInfo(
        run.reward.mode.value,
        run.reward.mode.value,
        run.reward.effective_beta,
        run.ppo.gae_lambda,
    )
    seed = run.run.seed
    curve = CellCurve.from_rows(arm.name, seed, read_rows(folder, "metrics"))
    status = read_status(folder) or "missing"
    curves = [curve] if curve.steps else []
    reason = read_reason(folder)
    failed = [] if curves else [FailedCell(arm.name, seed, status, reason)]
    found = Comparison([arm], curves, summarise([arm], curves, [], failed))
    samples = [CellSamples.read(0, seed, folder)]
    ending = "" if status == "finished" else f": {status}" + (f", {reason}" if reason else "")
    return Report(
        title=f"PPO run, {arm.name}, seed {seed}{ending}",
        folder=folder,
        is_comparison=False,
        found=found,
        settings=all_settings(folder / "config.yaml"),
        stages=(
            Stage.read("SFT model", run.policy),
            Stage.read("Reward model", run.reward_model),
        ),
        facts=read_facts([(seed, folder)]),
        samples=choose_samples(samples, Locator([Path(run.policy), folder / "final"])),
        profiles=_profiles(samples, found),
    )


def _recorded_reasons(folder: Path) -> dict[str, str]:
    """Returns why cells failed, by key, where only the comparison's own process knew."""
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        failed = content["failed"]
        return {f"{one['arm']}/seed-{one['seed']}": str(one["reason"]) for one in failed}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _read_samples(cells: Sequence[Cell], arms: Sequence[ArmInfo]) -> list[CellSamples]:
    places = {arm.name: place for place, arm in enumerate(arms)}
    return [CellSamples.read(places[cell.arm.name], cell.seed, cell.folder) for cell in cells]


def _locate(cells: Sequence[Cell]) -> Locator:
    finals = [cell.folder / "final" for cell in cells]
    return Locator([Path(cells[0].run.policy), *finals])


def _profiles(samples: Sequence[CellSamples], found: Comparison) -> Profiles:
    """Returns the credit profile of each cell that counts."""
    counted = {(curve.arm, curve.seed) for curve in found.usable}
    profiles: dict[str, dict[int, list[float]]] = {}
    for cell in samples:
        name = found.arms[cell.arm].name
        if cell.credits and (name, cell.seed) in counted:
            profiles.setdefault(name, {})[cell.seed] = credit_profile(cell.credits)
    return profiles


def _sweep(config: CompareConfig) -> tuple[SweepAxis, ...]:
    """Returns for each swept key which arms stand at each of its values."""
    points = sweep_points(config.sweep)
    return tuple(
        SweepAxis(
            key,
            tuple(str(value) for value in values),
            {
                arm.name: [
                    list(dict.fromkeys(arm.at(one).name for one in points if one[key] == value))
                    for value in values
                ]
                for arm in config.arms
            },
        )
        for key, values in config.sweep.items()
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
