"""Reads training curves of runs made elsewhere, such as the paper's, from a JSON file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from abcrl.config import InputError

FLAG = "--against"
"""What the errors name."""
_LARGEST = 1e300

Runs = Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class TrainingCurve:
    """What one run says about the batches that it was trained on."""

    arm: str
    seed: int
    """Runs of one source with the same number are a pair."""
    score: tuple[float, ...]
    """Mean score of each PPO step's responses, from step 1 on."""
    kl: tuple[float, ...] = ()
    """Estimated KL of the same responses, nats per response; empty where it is not known."""

    @classmethod
    def from_rows(cls, arm: str, seed: int, rows: Iterable[Mapping[str, float]]) -> "TrainingCurve":
        """Returns the curve in a run's metrics rows; step 0, which trains on nothing, has none."""
        trained = [row for row in rows if "objective/score" in row]
        return cls(
            arm,
            seed,
            tuple(row["objective/score"] for row in trained),
            tuple(row["objective/kl"] for row in trained),
        )


@dataclass(frozen=True)
class ReferenceCurves:
    """The runs of one experiment of a file of curves."""

    name: str
    """As in the file: `imdb`, `generation_length/20-30`."""
    file: str
    """The file's name, without its folder."""
    runs: tuple[TrainingCurve, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order of the file."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    @property
    def has_kl(self) -> bool:
        """Whether the KL of any run is known."""
        return any(run.kl for run in self.runs)


def read_reference_curves(against: str) -> ReferenceCurves:
    """Returns the curves that `FILE:NAME` stands for.

    FILE is JSON. It holds, by name, `{arm: [[score, ...], ...]}`, one list for each seed with one
    score for each PPO step; or `{"reward": {arm: ...}, "kl": {arm: ...}}`; or arms whose names
    begin with a group, `{"20-30/abc": ...}`, which `NAME/20-30` chooses. Whatever is not an object
    is a remark.

    Runs of two arms are a pair where their first scores are equal: no update has been made by
    then, so such runs were given the same batch. A run without a pair is in no difference.

    Raises:
        InputError: FILE cannot be read, has no such name, or other things in it than curves.
    """
    file, names = _open(against)
    name = against.rpartition(":")[2]
    if name not in names:
        group = any(one.startswith(f"{name}/") for one in names)
        close = [] if group else get_close_matches(name, names, n=1)
        advice = f"did you mean {close[0]}?" if close else "choose one of them"
        raise InputError(
            f"{FLAG}: must name curves that {file} holds ({', '.join(names)}), received {name!r}; "
            f"{advice}"
        )
    where = f"{FLAG}: {file}: {name}"
    scores, kls = names[name]
    runs = _check_runs(where, scores)
    kl = {} if kls is None else _check_runs(f"{where} kl", kls)
    for arm in kl.keys() & runs.keys():
        if [len(run) for run in kl[arm]] != [len(run) for run in runs[arm]]:
            raise InputError(
                f"{where} {arm}: must have a kl for every score, received lists of other lengths; "
                f"correct the file"
            )
    return ReferenceCurves(name, Path(file).name, _pair_up(runs, kl))


def _open(against: str) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """Returns the path in `FILE:NAME` and what the file holds: scores and KLs by name, as found."""
    file, colon, name = against.rpartition(":")
    if not (file and colon and name):
        whole = Path(against.rstrip(":"))
        names = list(_read(whole)) if whole.is_file() else []
        held = f" with NAME one of {', '.join(names)}" if names else ""
        example = f"{whole}:{names[0]}" if names else "experiments/paper/curves.json:imdb"
        raise InputError(f"{FLAG}: must read FILE:NAME{held}, received {against!r}; e.g. {example}")
    return file, _read(Path(file))


def _read(file: Path) -> dict[str, tuple[Any, Any]]:
    rule = f"{FLAG}: must be a JSON file of curves"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{rule}, received {file} ({error.strerror}); check the path") from None
    except ValueError as error:  # no UTF-8, no JSON
        raise InputError(f"{rule}, received {file} ({error}); check the file") from None
    named = content.items() if isinstance(content, dict) else ()
    names: dict[str, tuple[Any, Any]] = {}
    for name, curves in named:
        if isinstance(curves, dict) and curves:
            names |= _split_groups(name, curves)
    if not names:
        raise InputError(
            f'{rule} like {{"imdb": {{"abc": [[0.1, 0.3], [0.2, 0.4]]}}}}, received {file}, which '
            f"holds none; check the file"
        )
    return names


def _split_groups(name: str, curves: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    if "reward" in curves:
        return {name: (curves["reward"], curves.get("kl"))}
    if not all("/" in arm for arm in curves):
        return {name: (curves, None)}
    groups: dict[str, dict[str, Any]] = {}
    for key, runs in curves.items():
        group, _, arm = key.partition("/")
        groups.setdefault(f"{name}/{group}", {})[arm] = runs
    return {group: (arms, None) for group, arms in groups.items()}


def _check_runs(where: str, arms: object) -> Runs:
    if not isinstance(arms, dict) or not arms:
        raise InputError(
            f"{where}: must be an object with the runs of each arm, received {_show(arms)}; "
            f"correct the file"
        )
    for arm, runs in arms.items():
        if not _is_list_of(runs, lambda run: _is_list_of(run, _is_number)):
            raise InputError(
                f"{where} {arm}: must be a list for each seed, each of finite numbers, received "
                f"{_show(runs)}; correct the file"
            )
    return arms


def _is_list_of(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(holds, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < _LARGEST


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _pair_up(scores: Runs, kls: Runs) -> tuple[TrainingCurve, ...]:
    """Numbers the runs so that those of one number began with the same batch."""
    numbers: dict[tuple[float, int], int] = {}
    runs = []
    for arm, curves in scores.items():
        seen: list[float] = []
        for place, curve in enumerate(curves):
            key = (curve[0], seen.count(curve[0]))
            seen.append(curve[0])
            kl = tuple(kls[arm][place]) if arm in kls else ()
            seed = numbers.setdefault(key, len(numbers))
            runs.append(TrainingCurve(arm, seed, tuple(curve), kl))
    return tuple(runs)
