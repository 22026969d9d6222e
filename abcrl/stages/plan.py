"""What a comparison consists of: the runs that all cells share, and the cells."""

from dataclasses import dataclass
from pathlib import Path

from abcrl.config import (
    ArmConfig,
    CompareConfig,
    InputError,
    PpoConfig,
    RunConfig,
    SftConfig,
    TrainRmConfig,
    differing_keys,
    load_config,
    to_yaml,
)
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, load_corpus, prompt_texts
from abcrl.storage import read_config, read_status

StageRun = SftConfig | TrainRmConfig | PpoConfig


@dataclass(frozen=True)
class Cell:
    """One arm with one seed, and the run that it stands for."""

    arm: ArmConfig
    seed: int
    run: PpoConfig

    @property
    def key(self) -> str:
        """Names the cell in messages."""
        return f"{self.arm.name}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """The cell's run folder."""
        return Path(self.run.run.output)


def shared_stages(config: CompareConfig) -> tuple[SftConfig | None, TrainRmConfig | None]:
    """Returns the runs that all cells share; None for a model that exists already."""
    folder = Path(config.output)
    machine = config.machine.model_dump()
    sft = reward_model = None
    if config.sft is not None:
        run = RunConfig(output=str(folder / "sft"), **machine)
        sft = SftConfig(run=run, **dict(config.sft))
    if config.train_rm is not None:
        run = RunConfig(output=str(folder / "reward-model"), **machine)
        policy = config.policy or str(folder / "sft" / "final")
        reward_model = TrainRmConfig(run=run, model=policy, **dict(config.train_rm))
    return sft, reward_model


def plan_cells(config: CompareConfig) -> list[Cell]:
    """Returns every cell, seed by seed, so that an early stop leaves whole pairs."""
    folder = Path(config.output)
    cells = []
    for seed in config.seeds:
        for arm in config.arms:
            run = RunConfig(
                output=str(folder / "cells" / arm.name / f"seed-{seed}"),
                seed=seed,
                **config.machine.model_dump(),
            )
            settings = arm.apply(config.ppo)
            ppo = PpoConfig(
                run=run,
                policy=config.policy or str(folder / "sft" / "final"),
                reward_model=config.reward_model or str(folder / "reward-model" / "final"),
                **dict(settings),
            )
            cells.append(Cell(arm, seed, ppo))
    return cells


def require_inputs(config: CompareConfig, *, ask_hub: bool) -> None:
    """Refuses data and models that cannot be used, before anything is trained.

    Args:
        config: The comparison.
        ask_hub: Whether Hub ids are asked for, and data loaded from there; otherwise they pass.

    Raises:
        InputError: Names the first.
    """
    references = {"policy": config.policy, "reward_model": config.reward_model}
    if config.sft is not None:
        config.sft.model.require_files("sft.model")
        models = config.sft.model.references
        references |= {f"sft.model.{key}": reference for key, reference in models.items()}
    for key, reference in references.items():
        if reference is None:
            continue
        if not key.startswith("sft."):
            require_model_folder(reference, key)
        if ask_hub:
            from abcrl.config.hub import locate  # not for a look at the plan

            locate(reference, key)
    _require_data(config, ask_hub=ask_hub)


def _require_data(config: CompareConfig, *, ask_hub: bool) -> None:
    """Reads the data as the stages will, each once; what is generated cannot be wrong."""
    stages = (config.train_rm, config.sft, config.ppo)
    sections = [section for section in stages if section is not None]
    read: dict[str, Corpus] = {}
    for section in sections:
        data = section.data
        if data.built_in or (data.on_hub and not ask_hub):
            continue
        key = data.model_dump_json()
        if key not in read:  # labels first: whoever needs none can use the same
            read[key] = load_corpus(data, labelled=section is config.train_rm)
        if section is config.ppo:
            for part in (read[key].train, read[key].validation):
                prompt_texts(part, config.ppo.prompt)


def describe_plan(config: CompareConfig) -> list[str]:
    """Returns what a call with this configuration would do, a line each."""
    cells = plan_cells(config)
    finished = sum(read_status(cell.folder) == "finished" for cell in cells)
    lines = [
        f"{Path(run.run.output).name}: {read_status(Path(run.run.output)) or 'to be trained'}"
        for run in shared_stages(config)
        if run is not None
    ]
    lines.append(
        f"{len(cells)} cells ({len(config.arms)} arms x {len(config.seeds)} seeds) of "
        f"{config.ppo.steps} PPO steps, {finished} of them finished"
    )
    contrasts = [f"{one.arm} - {one.baseline}" for one in config.declared_contrasts]
    return [*lines, f"declared contrasts: {', '.join(contrasts) or 'none'}"]


def require_own_folders(config: CompareConfig) -> None:
    """Refuses to go on in folders that are in use, hold other settings, or are no runs at all.

    Unfinished runs are removed and start again, so whatever stands in their place has to be ours.

    Raises:
        InputError: Names the run and, for other settings, the first keys that differ.
    """
    if not _may_hold_comparison(Path(config.output)):
        raise InputError(
            f"output: must be new or hold a comparison, received {config.output}, which holds "
            f"something else; choose another --output"
        )
    shared = [run for run in shared_stages(config) if run is not None]
    for run in (*shared, *(cell.run for cell in plan_cells(config))):
        problem = _why_not_ours(run)
        if problem:
            raise InputError(
                f"output: {config.output} cannot hold this comparison: "
                f"{Path(run.run.output).relative_to(config.output)} {problem}"
            )


def _may_hold_comparison(folder: Path) -> bool:
    """Whether config.yaml may be written there: it is absent, or that of a comparison."""
    if (folder / "status.json").exists():
        return False
    if not (folder / "config.yaml").exists():
        return True
    try:
        load_config(CompareConfig, file=folder / "config.yaml")
    except InputError:
        return False
    return True


def _why_not_ours(run: StageRun) -> str:
    """Says what is wrong with the folder of a run; empty where it is absent or ours."""
    folder = Path(run.run.output)
    status, stored, wanted = read_status(folder), read_config(folder), to_yaml(run)
    if status == "running":
        return "is being written by another process; wait for it or choose another --output"
    if stored is not None and stored != wanted:
        keys = ", ".join(differing_keys(stored, wanted)[:3])
        return (
            f"ran with other settings ({keys}); choose another --output, or remove the whole "
            f"comparison"
        )
    if status is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return "is there and is no run; move it away or choose another --output"
    return ""
