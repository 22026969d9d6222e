"""What a comparison consists of: the runs that all cells share, and the cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from abcrl.config import (
    ArmConfig,
    CompareConfig,
    InputError,
    PpoConfig,
    PpoSettings,
    RunConfig,
    SftConfig,
    TrainRmConfig,
    differing_keys,
    load_config,
    to_yaml,
)
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, load_corpus, prompt_texts, too_few_heldout
from abcrl.storage import read_config, read_fingerprints, read_status

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


def is_finished(config: CompareConfig) -> bool:
    """Whether every run of the comparison has ended well."""
    runs = [*shared_stages(config), *(cell.run for cell in plan_cells(config))]
    return all(read_status(Path(run.run.output)) == "finished" for run in runs if run is not None)


def require_inputs(config: CompareConfig, *, ask_hub: bool) -> None:
    """Refuses data and models that cannot be used, before anything is trained.

    Args:
        config: The comparison.
        ask_hub: Whether Hub ids are asked for, and data loaded from there; otherwise they pass.

    Raises:
        InputError: Names the first.
    """
    references = {"policy": config.policy, "reward_model": config.reward_model}
    heads = {"policy": "CausalLM", "reward_model": "SequenceClassification"}
    given = {key: reference for key, reference in references.items() if reference is not None}
    for key, reference in given.items():
        require_model_folder(reference, key, kind=heads[key])
    if config.sft is not None:
        config.sft.model.require_files("sft.model")
        given |= {f"sft.model.{key}": name for key, name in config.sft.model.references.items()}
    for key, reference in given.items():
        if ask_hub:
            from abcrl.hub import locate  # not for a look at the plan

            locate(reference, key)
    _require_data(config, ask_hub=ask_hub)


def _require_data(config: CompareConfig, *, ask_hub: bool) -> None:
    """Reads the data as the stages will, each once; what is generated cannot be wrong.

    Raises:
        InputError: They cannot be used, or are not those that finished runs have seen.
    """
    # Labels first: whoever needs none can use the same.
    sections = {"train_rm": config.train_rm, "sft": config.sft, "ppo": config.ppo}
    read: dict[str, Corpus] = {}
    for name, section in sections.items():
        if section is None or section.data.built_in or (section.data.on_hub and not ask_hub):
            continue
        key = section.data.model_dump_json()
        try:
            if key not in read:
                read[key] = load_corpus(section.data, labelled=name == "train_rm")
            if name == "ppo":
                _require_prompt_texts(config.ppo, read[key])
        except InputError as error:
            # A row is named by its file; a key is named as it is called here.
            where = f"{name}." if str(error).startswith(("data.", "prompt.")) else ""
            raise InputError(f"{where}{error}") from None
        _require_same_texts(config, name, read[key].fingerprint)


def _require_prompt_texts(settings: PpoSettings, corpus: Corpus) -> None:
    prompt_texts(corpus.train, settings.prompt)
    heldout = len(prompt_texts(corpus.validation, settings.prompt))
    if heldout < 2:
        raise InputError(too_few_heldout(heldout))


def _require_same_texts(config: CompareConfig, stage: str, texts: str) -> None:
    """Refuses to put runs on changed data beside finished ones."""
    sft, reward_model = shared_stages(config)
    cells = [cell.run for cell in plan_cells(config)]
    runs: dict[str, Sequence[StageRun | None]] = {
        "sft": [sft],
        "train_rm": [reward_model],
        "ppo": cells,
    }
    for run in runs[stage]:
        folder = None if run is None else Path(run.run.output)
        seen = None if folder is None else read_fingerprints(folder).get("texts")
        if folder is not None and seen is not None and seen != texts:
            raise InputError(
                f"{stage}.data.source: must hold the texts that "
                f"{folder.relative_to(config.output)} has seen (fingerprint {seen}), received "
                f"others ({texts}); restore them, or choose another --output"
            )


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
