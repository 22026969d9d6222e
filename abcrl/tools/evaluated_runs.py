"""The PPO runs that `abcrl eval` is given: what they were trained with, and where they differ.

Only looks at a run folder: takes no lock and writes nothing. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abcrl.config import (
    EvalConfig,
    InputError,
    PpoConfig,
    differing_keys,
    load_config,
    to_yaml,
    validate,
)
from abcrl.config.paths import absolute
from abcrl.storage import is_ppo_run, read_fingerprints, read_reason, read_recorded_status

# Of the texts, what describes their source; another source has these of its own. How the policy
# reads a prompt (data.template) and which rows are used belong to the run.
_OF_THE_SOURCE = ("source", "subset", "split", "validation", "format", "columns", "labels")
# Labels and margins are read by reward-model training alone; the others are a matter of speed.
_IRRELEVANT = (
    "data.columns.label",
    "data.columns.margin",
    "data.labels",
    "response.cache",
    "response.compile",
)


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished PPO run."""

    path: Path
    config: PpoConfig

    @property
    def final(self) -> str:
        """Its policy."""
        return str(self.path / "final")

    def settings(self, *, other_source: bool = False) -> dict[str, Any]:
        """Returns the keys of an `EvalConfig` that the run says: as it evaluated itself.

        Args:
            other_source: Whether the prompts come from other texts than its own.
        """
        run = self.config
        data = run.data.model_dump(mode="json")
        if other_source:
            data = {key: value for key, value in data.items() if key not in _OF_THE_SOURCE}
        return {
            "policy": self.final,
            "reward_model": run.reward_model,
            "against": run.policy,
            "reference": run.policy,
            "prompts": run.evaluation.prompts,
            "batch_size": run.evaluation.batch_size,
            "precision": run.networks.precision,
            "data": data,
            "prompt": run.prompt.model_dump(mode="json"),
            "response": run.response.model_dump(mode="json"),
            "score": run.score.model_dump(mode="json", include={"positive_label", "template"}),
            "machine": {"threads": run.run.threads},
        }


def find_run(model: str, key: str) -> EvaluatedRun | None:
    """Returns the PPO run in a folder, or whose final/ the folder is; None: it is a model.

    Args:
        model: As the user names it.
        key: Configuration key to name.

    Raises:
        InputError: The folder holds a run that has not finished, or of another command, or nothing
            that a policy could be read from.
    """
    path = Path(absolute(model))
    if not path.is_dir():  # a Hub id, or what the loader will refuse
        return None
    if (path / "config.json").is_file():
        run = path.parent if path.name == "final" else path
        return EvaluatedRun(run, _read_config(run)) if is_ppo_run(run) else None
    if not is_ppo_run(path):
        raise InputError(
            f"{key}: must be the folder of a PPO run or of a model, received {model}, which is "
            f"neither; other runs keep their model in <run>/final"
        )
    if not (path / "final" / "config.json").is_file():
        raise InputError(_unfinished(path, model, key))
    return EvaluatedRun(path, _read_config(path))


def settings_of(
    policy: str | None, against: str | None, *, other_source: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the defaults that a policy's run gives, and the models that were named.

    Args:
        policy: Run folder, model folder or Hub id; None: it was not named.
        against: Likewise.
        other_source: Whether the prompts come from other texts than the run's.

    Raises:
        InputError: See `find_run`.
    """
    defaults: dict[str, Any] = {}
    named: dict[str, Any] = {}
    for key, model in (("policy", policy), ("against", against)):
        if model is None:
            continue
        run = find_run(model, key)
        named[key] = model if run is None else run.final
        if run is not None and key == "policy":
            defaults = run.settings(other_source=other_source)
    return defaults, named


def differences(model: str, config: EvalConfig, fingerprints: Mapping[str, str]) -> list[str]:
    """Returns `key: trained with, evaluated with` where a run was trained with something else.

    Prompts, responses, judge and reference count: a policy that was trained for others is judged
    by what it was not trained for. So do texts and a reward model that have changed since.

    Args:
        model: A policy of the evaluation.
        config: The evaluation.
        fingerprints: Of what it reads.
    """
    run = find_run(model, "policy")
    if run is None:
        return []
    own = validate(EvalConfig, {**run.settings(), "against": config.against})
    shared = ("policy", "prompts", "samples", "batch_size", "seed", "precision", "machine")
    own = own.replace(**{key: getattr(config, key) for key in (*shared, "output")})
    lines = [
        line
        for line in differing_keys(to_yaml(own), to_yaml(config))
        if line.partition(":")[0] not in _IRRELEVANT
    ]
    before = read_fingerprints(run.path)
    changed = {name for name in before if before[name] != fingerprints.get(name)}
    if "texts" in changed and not any(line.startswith("data.") for line in lines):
        lines.append("data.source: its content has changed since")
    if "reward_model" in changed and config.reward_model == run.config.reward_model:
        lines.append("reward_model: its content has changed since")
    return lines


def _read_config(path: Path) -> PpoConfig:
    file = path / "config.yaml"
    try:
        return load_config(PpoConfig, file=file)
    except InputError as error:
        problems = str(error).split("\n")
        raise InputError(*(f"{file}: {problem}" for problem in problems)) from None


def _unfinished(path: Path, model: str, key: str) -> str:
    status = read_recorded_status(path)
    reason = read_reason(path)
    state = {
        "failed": f"has failed{f' ({reason})' if reason else ''}",
        "running": "is still running or was killed",
        "interrupted": "was interrupted",
    }.get(status or "", "has no final/")
    remedy = (
        "look at its metrics.jsonl, or give another"
        if status == "failed"
        else f"wait for it, or go on with abcrl ppo --resume --output {path}"
    )
    return f"{key}: must be a run that has finished, received {model}, which {state}; {remedy}"
