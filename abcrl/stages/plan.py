"""Whether a comparison can be run where it is to be run, and what a call would do."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean

from abcrl.config import (
    Cell,
    CompareConfig,
    ContrastConfig,
    InputError,
    PpoSettings,
    RewardModelSettings,
    SftSettings,
    StageRun,
    flatten,
    plan_cells,
    runs_by_stage,
    shared_stages,
)
from abcrl.config.paths import require_model_folder
from abcrl.config.sweep import sweep_points
from abcrl.config.verdicts import min_pairs_for_verdict
from abcrl.config.words import count
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
from abcrl.storage import (
    Look,
    read_fingerprints,
    read_looks,
    read_seconds,
    read_status,
    weigh_looks,
)

from .comparison_folder import require_own_folders

# What the plan has said of an arm before its further options.
_SAID = {"mode", "beta", "ppo.gae_lambda"}


def is_finished(config: CompareConfig) -> bool:
    """Whether every run of the comparison has ended well."""
    runs = chain.from_iterable(runs_by_stage(config).values())
    return all(read_status(_folder(run)) == "finished" for run in runs)


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
    runs = runs_by_stage(config)
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


def describe_plan(config: CompareConfig, *, retry_failed: bool = False) -> list[str]:
    """Returns what a call with this configuration would do, a line each.

    Args:
        config: The comparison.
        retry_failed: Whether failed cells will be run again.

    Raises:
        InputError: The folder holds something else, or runs with other settings, or a model would
            be trained again that finished cells rest on.
    """
    require_own_folders(config, may_be_at_work=True)
    cells = plan_cells(config)
    status = {cell.key: read_status(cell.folder) for cell in cells}
    finished = [cell for cell in cells if status[cell.key] == "finished"]
    failed = sum(one == "failed" for one in status.values())
    lines = [
        f"{_folder(run).name}: {read_status(_folder(run)) or 'to be trained'}"
        for run in shared_stages(config)
        if run is not None
    ]
    arms = [cell for cell in cells if cell.seed == config.seeds[0]]
    lines.append(
        f"{count(len(cells), 'cell')} ({count(len(arms), 'arm')} x "
        f"{count(len(config.seeds), 'seed')}) of {config.ppo.steps} PPO steps, {len(finished)} of "
        f"them finished"
    )
    if failed:
        fate = "to be run again" if retry_failed else "counted as failed without --retry-failed"
        lines[-1] += f", {failed} failed ({fate})"
    waiting = len(cells) - len(finished) - (0 if retry_failed else failed)
    lines += _estimate(config, waiting, finished)
    lines += [_say_arm(cell) for cell in arms]
    lines.append(f"declared contrasts: {_say_contrasts(config)}")
    return [*lines, *_verdict_within_reach(config)]


def _say_arm(cell: Cell) -> str:
    beta, gae_lambda = cell.run.reward.effective_beta, cell.run.ppo.gae_lambda
    said = [] if beta is None else [f"beta {beta:g}"]
    said.append(f"lambda {gae_lambda:g}")
    options = cell.arm.reward.model_dump(mode="json", exclude_defaults=True, exclude=_SAID)
    settings = {key: value for key, value in flatten(cell.arm.settings).items() if key not in _SAID}
    said += [f"{key} {value}" for key, value in (options | settings).items()]
    return f"arm {cell.arm.name}: {', '.join(said)}"


def _estimate(config: CompareConfig, waiting: int, finished: Sequence[Cell]) -> list[str]:
    """Says how long the cells that are left will take, by the time that finished ones took."""
    known = [seconds for cell in finished if (seconds := read_seconds(cell.folder)) is not None]
    if not (waiting and known):
        return []
    took = f"finished ones took {fmean(known):.0f} seconds on average"
    if config.grid.engine == "ray" and config.grid.jobs is None:
        return [f"{waiting} left, as many at a time as the cluster takes: {took}"]
    jobs = min(waiting, config.grid.jobs or default_jobs(config.machine.device))
    seconds = math.ceil(waiting / jobs) * fmean(known)
    time = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return [f"about {time} for the other {waiting}, {jobs} at a time: {took}"]


def _say_contrasts(config: CompareConfig) -> str:
    """Returns the declared contrasts, of a sweep each once, with how many points they are at."""
    bases = {arm.name: arm for arm in config.arms}
    points = sweep_points(config.sweep)
    declared = Counter(
        (_base(one.arm), _base(one.baseline), _say_margin(one)) for one in config.declared_contrasts
    )
    said: dict[str, list[str]] = {}
    for (arm, baseline, margin), at in declared.items():
        pairs = {(bases[arm].at(one).name, bases[baseline].at(one).name) for one in points}
        where = f" at {'each of' if at == len(pairs) else f'{at} of'} {len(pairs)} points"
        text = f"{arm} - {baseline}{margin}"
        said.setdefault(where if len(pairs) > 1 else "", []).append(text)
    return "; ".join(f"{', '.join(texts)}{where}" for where, texts in said.items()) or "none"


def _say_margin(contrast: ContrastConfig) -> str:
    if contrast.margin is None:
        return ""
    whole = (
        "" if contrast.margin_of is None else f" of {' - '.join(map(_base, contrast.margin_of))}"
    )
    return f" (margin {contrast.margin:g}{whole})"


def _base(name: str) -> str:
    """Returns the name of an arm without the point of the sweep."""
    return name.partition("@")[0]


def _verdict_within_reach(config: CompareConfig) -> list[str]:
    """Says whether so many seeds can give a verdict at all; see `can_reach_verdict`."""
    now = Look.of(config)
    if not now.contrasts:
        return []
    earlier = weigh_looks(read_looks(Path(config.output)), now)
    seeds, family = len(now.seeds), len(now.contrasts) + earlier.dropped
    needed = min_pairs_for_verdict(family)
    judged = count(family, "contrast")
    judged += f" ({earlier.dropped} of them from an earlier look)" if earlier.dropped else ""
    if seeds >= needed:
        lines = [f"{seeds} seeds can give a verdict on {judged} (it takes {needed})"]
    else:
        short = f"{count(seeds, 'seed')} cannot give a verdict on {judged}"
        lines = [f"{short}: it takes {needed}, or fewer contrasts"]
    lines += [f"every verdict will say: {note}" for note in earlier.notes]
    return lines + [
        f"the verdict on {one.arm} - {one.baseline} will say: {earlier.late[one.pair]}"
        for one in now.contrasts
        if one.pair in earlier.late
    ]
