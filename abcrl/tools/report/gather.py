"""From a folder to everything its report says, as plain data. Writes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

from abcrl.analysis import ArmInfo, CellCurve, FailedCell, summarise
from abcrl.analysis.comparison import Comparison, read_comparison
from abcrl.analysis.figures.credit_profile import Profiles, credit_profile
from abcrl.analysis.figures.sweep import SweepAxis
from abcrl.config import (
    Cell,
    CompareConfig,
    InputError,
    PpoConfig,
    load_config,
    plan_cells,
    read_yaml,
)
from abcrl.config.sweep import sweep_points
from abcrl.config.words import count
from abcrl.storage import is_ppo_run, read_metrics, read_reason, read_status

from .conditions import read_conditions
from .contents import Report
from .facts import (
    Stage,
    all_settings,
    cut_folder,
    differing_between_arms,
    read_facts,
    say_ending,
    say_value,
)
from .sample_rows import CellSamples
from .samples import Locator, choose_samples
from .training_run import read_training_run


def read_report(folder: Path) -> Report:
    """Returns what there is to report of a comparison or of one run, finished or not.

    Args:
        folder: As `abcrl compare`, `ppo`, `sft` or `train-rm` wrote it; it may have been moved
            since.

    Raises:
        InputError: The folder is neither, or its config.yaml is not valid.
    """
    folder = folder.absolute()
    if is_ppo_run(folder):
        return _of_run(folder, load_config(PpoConfig, file=folder / "config.yaml"))
    if _is_comparison(folder):
        config = load_config(CompareConfig, file=folder / "config.yaml")
        return _of_comparison(folder, config.replace(output=str(folder)))
    report = read_training_run(folder)
    if report is None:
        raise InputError(
            f"folder: must hold a comparison, or a run of ppo, sft or train-rm, received {folder}; "
            f"give what one of these commands has written"
        )
    return report


def _is_comparison(folder: Path) -> bool:
    file = folder / "config.yaml"
    return file.is_file() and {"arms", "seeds", "ppo"} <= read_yaml(file).keys()


def _of_comparison(folder: Path, config: CompareConfig) -> Report:
    cells = plan_cells(config)
    found = read_comparison(config, _recorded_reasons(folder, cells))
    one_each = [cell for cell in cells if cell.seed == config.seeds[0]]
    samples = _read_samples(cells, found.arms)
    troubles = [
        f"{cell.key}: {one.trouble}"
        for cell, one in zip(cells, samples, strict=True)
        if one.trouble
    ]
    settings = differing_between_arms(one_each, troubles=troubles)
    counted = {(curve.arm, curve.seed) for curve in found.usable}
    usable = [cell.folder for cell in cells if (cell.arm.name, cell.seed) in counted]
    models = one_each[0].run
    return Report(
        title=f"{count(len(found.arms), 'arm')}, {count(len(config.seeds), 'seed')}",
        folder=folder,
        command="compare",
        found=found,
        settings=settings,
        stages=(
            Stage.read("SFT model", models.policy),
            Stage.read("Reward model", models.reward_model),
        ),
        facts=read_facts([(cell.seed, cell.folder) for cell in cells]),
        samples=choose_samples(samples, _locate(cells)),
        profiles=_profiles(samples, found),
        sweep=_sweep(config),
        conditions=read_conditions(usable, found.summary.unequal_inputs),
        troubles=tuple(troubles),
    )


def _of_run(folder: Path, run: PpoConfig) -> Report:
    arm = ArmInfo(
        run.reward.mode.value,
        run.reward.mode.value,
        run.reward.effective_beta,
        run.ppo.gae_lambda,
    )
    seed = run.run.seed
    status, reason = read_status(folder) or "missing", read_reason(folder)
    try:
        rows = read_metrics(folder)
    except InputError as error:
        rows, status, reason = [], "failed", cut_folder(error, folder)
    curve = CellCurve.from_rows(arm.name, seed, rows)
    curves = [curve] if curve.steps else []
    failed = [] if curves else [FailedCell(arm.name, seed, status, reason)]
    found = Comparison([arm], curves, summarise([arm], curves, [], failed))
    samples = [CellSamples.read(0, seed, folder)]
    return Report(
        title=f"PPO run, {arm.name}, seed {seed}{say_ending(status, reason)}",
        folder=folder,
        command="ppo",
        found=found,
        settings=all_settings(folder / "config.yaml"),
        stages=(
            Stage.read("SFT model", run.policy),
            Stage.read("Reward model", run.reward_model),
        ),
        facts=read_facts([(seed, folder)]),
        samples=choose_samples(samples, Locator([Path(run.policy), folder / "final"])),
        profiles=_profiles(samples, found),
        troubles=(samples[0].trouble,) if samples[0].trouble else (),
    )


def _recorded_reasons(folder: Path, cells: Sequence[Cell]) -> dict[str, str]:
    """Returns why cells failed, by key, where only the comparison's own process knew.

    What was written of a cell that has got another status since is out of date.
    """
    try:
        content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        recorded = {
            (f"{one['arm']}/seed-{one['seed']}", one["status"]): str(one["reason"])
            for one in content["failed"]
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    now = ((cell.key, read_status(cell.folder) or "missing") for cell in cells)
    return {key: recorded[key, status] for key, status in now if (key, status) in recorded}


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
            tuple(say_value(value) for value in values),
            {
                arm.name: [
                    list(
                        dict.fromkeys(
                            arm.at(one).name for one in points if one.values[key] == value
                        )
                    )
                    for value in values
                ]
                for arm in config.arms
            },
        )
        for key, values in config.sweep.items()
    )
