"""The contrasts that a comparison declares, and those that stand where nobody declares any."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from .arms import ArmConfig, ArmName
from .base import Group
from .ppo import PpoSettings
from .reward import RewardMode
from .sweep import BETA, GAE_LAMBDA

# What uniform credit has in common with abc's where they differ in content alone, and what abc's
# own credit on other tokens has beside it.
_DENSITY = (BETA, GAE_LAMBDA, "reward.missing_eos_penalty")
_EVIDENCE = ("reward.layer", "reward.heads")


class ContrastConfig(Group):
    """A declared difference of two arms, `arm - baseline`."""

    arm: ArmName
    """The arm that is tested."""
    baseline: ArmName
    """The arm it is held against."""
    margin: Annotated[float, Field(gt=0)] | None = None
    """Also test whether the difference is smaller than this, in score units; null: do not."""
    margin_of: Annotated[tuple[ArmName, ArmName] | None, Field(strict=False)] = None
    """margin is a share of this contrast instead: [arm, baseline]."""

    @model_validator(mode="after")
    def _arms_are_two(self) -> Self:
        if self.arm == self.baseline:
            raise ValueError(f"baseline must be another arm, received {self.arm!r} for both")
        if self.margin_of is not None and self.margin_of[0] == self.margin_of[1]:
            raise ValueError(f"margin_of must name two arms, received {self.margin_of[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _a_share_has_its_size(self) -> Self:
        if self.margin_of is not None and self.margin is None:
            raise ValueError("margin must be given with margin_of, received null; e.g. margin: 0.2")
        return self

    @property
    def arms(self) -> set[str]:
        """Names of all arms that it needs."""
        return {self.arm, self.baseline, *(self.margin_of or ())}

    def rename(self, names: Mapping[str, str]) -> Self:
        """Returns the contrast of the arms that have taken the place of these."""
        whole = None
        if self.margin_of is not None:
            whole = (names[self.margin_of[0]], names[self.margin_of[1]])
        changes = {"arm": names[self.arm], "baseline": names[self.baseline], "margin_of": whole}
        return self.model_copy(update=changes)


def require_declarable(contrasts: Sequence[ContrastConfig], arms: Sequence[str]) -> None:
    """Refuses contrasts of arms that are not there, and a contrast that is declared twice.

    Args:
        contrasts: As declared.
        arms: The names that there are.

    Raises:
        ValueError: Names the first.
    """
    seen: set[frozenset[str]] = set()
    for contrast in contrasts:
        unknown = contrast.arms - set(arms)
        if unknown:
            raise ValueError(
                f"contrasts must name arms ({', '.join(arms)}), received {min(unknown)!r}"
            )
        pair = frozenset((contrast.arm, contrast.baseline))
        if pair in seen:
            raise ValueError(
                f"contrasts must be declared once, whichever arm comes first, received "
                f"{contrast.arm} - {contrast.baseline} again; remove it"
            )
        seen.add(pair)


def default_contrasts(arms: Sequence[ArmConfig], settings: PpoSettings) -> list[ContrastConfig]:
    """Returns what is declared where nobody declares: what each arm could show, and no more.

    Each dense mode against sparse rewards; sparse rewards at lambda 1 against those, because lambda
    alone can do what density does; abc against these, against uniform with the same beta and
    against its own credit on other tokens. Controls are held against abc alone. Arms of which
    something else differs than reward and lambda are not held against each other.

    Args:
        arms: In the order of the tables; at one point of a sweep.
        settings: What is in force where an arm says nothing else.
    """
    alike: dict[str, list[_Arm]] = {}
    for arm in arms:
        effective = arm.effective(settings)
        rest = {
            key: value
            for key, value in effective.items()
            if key != GAE_LAMBDA and not key.startswith("reward.")
        }
        alike.setdefault(json.dumps(rest, sort_keys=True), []).append(_Arm(arm, effective))
    pairs = [pair for group in alike.values() for pair in _pairs(group)]
    return [ContrastConfig.model_construct(arm=arm, baseline=other) for arm, other in pairs]


@dataclass(frozen=True)
class _Arm:
    """An arm, and what decides its runs."""

    arm: ArmConfig
    effective: Mapping[str, Any]

    @property
    def mode(self) -> RewardMode:
        return self.arm.reward.mode

    @property
    def gae_lambda(self) -> float:
        return float(self.effective[GAE_LAMBDA])

    def differs_in_content(self, other: "_Arm") -> bool:
        """Whether the other is as dense, with uniform credit or with this one's own elsewhere."""
        if other.mode is RewardMode.UNIFORM:
            alike: tuple[str, ...] = _DENSITY
        elif other.mode is RewardMode.SHUFFLED:
            alike = (*_DENSITY, *_EVIDENCE)
        else:
            return False
        return all(self.effective[key] == other.effective[key] for key in alike)


def _pairs(arms: Sequence[_Arm]) -> list[tuple[str, str]]:
    """Returns the contrasts of arms that differ in nothing but reward and lambda."""
    sparse = [one for one in arms if one.arm.is_sparse]
    if not sparse:
        return []
    baseline = min(sparse, key=lambda one: one.gae_lambda == 1.0)
    undiscounted = [one for one in sparse if one.gae_lambda == 1.0 and baseline.gae_lambda != 1.0]
    dense = [one for one in arms if not one.arm.is_sparse and not one.mode.is_control]
    pairs = [(one, baseline) for one in (*dense, *undiscounted)]
    for one in dense:
        if one.mode is RewardMode.ABC:
            pairs += [(one, other) for other in undiscounted]
            pairs += [(one, other) for other in arms if one.differs_in_content(other)]
    return [(one.arm.name, other.arm.name) for one, other in pairs]
