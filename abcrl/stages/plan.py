"""Whether a comparison can be run where it is to be run, and what a call would do."""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean

from abcrl.config import (
    Cell,
    CompareConfig,
    InputError,
    PpoSettings,
    RewardModelSettings,
    SftSettings,
    StageRun,
    differing_settings,
    load_config,
    plan_cells,
    shared_stages,
    to_yaml,
)
from abcrl.config.paths import require_model_folder
from abcrl.config.verdicts import min_pairs_for_verdict
from abcrl.data import (
    Corpus,
    Example,
    count_prompts,
    load_corpus,
    load_pairs,
    load_prompts,
    require_two_heldout,
)
from abcrl.grid import default_jobs
from abcrl.storage import read_config, read_fingerprints, read_seconds, read_status

# What a comparison writes beside its runs and after its config.yaml.
_WRITTEN = (
    "logs",
    "results.csv",
    "summary.json",
    "report.html",
    "learning-curves.png",
    "learning-curves.svg",
)


def is_finished(config: CompareConfig) -> bool:
    """Whether every run of the comparison has ended well."""
    runs = chain.from_iterable(_runs_by_stage(config).values())
    return all(read_status(_folder(run)) == "finished" for run in runs)


def _runs_by_stage(config: CompareConfig) -> dict[str, list[StageRun]]:
    """Every run, in pipeline order, by the section that configures it."""
    sft, reward_model = shared_stages(config)
    return {
        "sft": [] if sft is None else [sft],
        "train_rm": [] if reward_model is None else [reward_model],
        "ppo": [cell.run for cell in plan_cells(config)],
    }


def _folder(run: StageRun) -> Path:
    return Path(run.run.output)


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
    """Reads the data as the stages will; what is generated cannot be wrong.

    Raises:
        InputError: They cannot be used, or are not those that finished runs have seen.
    """
    sections = {"sft": config.sft, "train_rm": config.train_rm, "ppo": config.ppo}
    runs = _runs_by_stage(config)
    for name, section in sections.items():
        if section is None or section.data.built_in or (section.data.on_hub and not ask_hub):
            continue
        try:
            texts = _read_as_stage(section)
        except InputError as error:
            # A row is named by its file; a key is named as it is called here.
            where = f"{name}." if str(error).startswith(("data.", "prompt.")) else ""
            raise InputError(f"{where}{error}") from None
        _require_same_texts(runs[name], f"{name}.data.source", texts)


def _read_as_stage(section: SftSettings | RewardModelSettings | PpoSettings) -> str:
    """Returns the fingerprint of what a stage will read.

    Raises:
        InputError: It cannot be used.
    """
    if isinstance(section, RewardModelSettings) and section.objective == "bradley-terry":
        return load_pairs(section.data).fingerprint
    if not isinstance(section, PpoSettings):
        labelled = isinstance(section, RewardModelSettings)
        return load_corpus(section.data, labelled=labelled).fingerprint
    corpus = load_prompts(section.data)
    _require_prompt_texts(section, corpus)
    return corpus.fingerprint


def _require_prompt_texts(settings: PpoSettings, corpus: Corpus[Example]) -> None:
    count_prompts(corpus.train, settings.prompt)
    require_two_heldout(count_prompts(corpus.validation, settings.prompt))


def _require_same_texts(runs: Sequence[StageRun], key: str, texts: str) -> None:
    """Refuses to put runs on changed data beside finished ones; others start again on them."""
    for folder in map(_folder, runs):
        seen = read_fingerprints(folder).get("texts")
        if seen not in (None, texts) and read_status(folder) == "finished":
            raise InputError(
                f"{key}: must hold the texts that {folder} has seen (fingerprint {seen}), received "
                f"others ({texts}); restore them, or choose another --output"
            )


def describe_plan(config: CompareConfig) -> list[str]:
    """Returns what a call with this configuration would do, a line each."""
    cells = plan_cells(config)
    finished = [cell for cell in cells if read_status(cell.folder) == "finished"]
    lines = [
        f"{_folder(run).name}: {read_status(_folder(run)) or 'to be trained'}"
        for run in shared_stages(config)
        if run is not None
    ]
    arms = len(config.swept_arms)
    lines.append(
        f"{len(cells)} cells ({arms} arms x {len(config.seeds)} seeds) of "
        f"{config.ppo.steps} PPO steps, {len(finished)} of them finished"
    )
    lines += _estimate(config, cells, finished)
    contrasts = [f"{one.arm} - {one.baseline}" for one in config.declared_contrasts]
    lines.append(f"declared contrasts: {', '.join(contrasts) or 'none'}")
    return [*lines, *_verdict_within_reach(len(config.seeds), len(contrasts))]


def _estimate(config: CompareConfig, cells: Sequence[Cell], finished: Sequence[Cell]) -> list[str]:
    """Says how long the cells that are left will take, by the time that finished ones took."""
    waiting = len(cells) - len(finished)
    known = [seconds for cell in finished if (seconds := read_seconds(cell.folder)) is not None]
    if not (waiting and known):
        return []
    jobs = min(waiting, config.jobs or default_jobs(config.machine.device))
    minutes = math.ceil(waiting / jobs) * fmean(known) / 60
    return [
        f"about {minutes:.0f} minutes for the other {waiting}, {jobs} at a time: finished ones "
        f"took {fmean(known):.0f} seconds on average"
    ]


def _verdict_within_reach(seeds: int, contrasts: int) -> list[str]:
    """Says whether so many seeds can give a verdict at all; see `can_reach_verdict`."""
    if not contrasts:
        return []
    needed = min_pairs_for_verdict(contrasts)
    count = f"{contrasts} contrast{'s' if contrasts > 1 else ''}"
    if seeds >= needed:
        return [f"{seeds} seeds can give a verdict on {count} (it takes {needed})"]
    return [
        f"{seeds} seeds cannot give a verdict on {count}: it takes {needed}, or fewer contrasts"
    ]


def require_own_folders(config: CompareConfig) -> None:
    """Refuses to go on in folders that are in use, hold other settings, or are no runs at all.

    Unfinished runs go on or are removed, so whatever stands in their place has to be ours.

    Raises:
        InputError: Names the run and, for other settings, the first keys that differ.
    """
    if not _may_hold_comparison(Path(config.output)):
        raise InputError(
            f"output: must be new or hold a comparison, received {config.output}, which holds "
            f"something else; choose another --output"
        )
    for run in chain.from_iterable(_runs_by_stage(config).values()):
        problem = _why_not_ours(run)
        if problem:
            raise InputError(
                f"output: {config.output} cannot hold this comparison: "
                f"{_folder(run).relative_to(config.output)} {problem}"
            )


def _may_hold_comparison(folder: Path) -> bool:
    """Whether what a comparison writes may be written there: nothing of it is, or it is one."""
    if (folder / "status.json").exists():
        return False
    if not (folder / "config.yaml").exists():
        return not any((folder / name).exists() for name in _WRITTEN)
    try:
        load_config(CompareConfig, file=folder / "config.yaml")
    except InputError:
        return False
    return True


def _why_not_ours(run: StageRun) -> str:
    """Says what is wrong with the folder of a run; empty where it is absent or ours."""
    folder = _folder(run)
    status, stored, wanted = read_status(folder), read_config(folder), to_yaml(run)
    if status == "running":
        return "is being written by another process; wait for it or choose another --output"
    differing = [] if stored is None else differing_settings(stored, wanted, free=())
    if differing:
        return (
            f"ran with other settings ({', '.join(differing[:3])}); choose another --output, or "
            f"remove the whole comparison"
        )
    if status is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return "is there and is no run; move it away or choose another --output"
    return ""
