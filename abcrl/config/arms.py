"""The arms of a comparison, the axes along which they are repeated, and the declared contrasts."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from .base import Group
from .load import overlay, unfold
from .ppo import PpoSettings
from .reward import RewardConfig, RewardMode

ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
Axis = Annotated[list[JsonValue], Field(min_length=1)]

# What all cells must have in common for their held-out scores to be paired, or an arm has itself.
_SHARED = ("steps", "data", "prompt", "evaluation", "checkpoint")
_BETA = "reward.beta"
ALL_MODES = "all"
"""Stands for the arms of every mode."""


class ArmConfig(Group):
    """One arm: a reward mode with its options. What is not given is as in the `ppo` section."""

    name: ArmName
    """Names the arm in tables and folders: letters, digits, dot, underscore, hyphen."""
    reward: RewardConfig
    """Mode, beta, alignment, layer and heads."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] | None = None
    """GAE's lambda in this arm only."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of the `ppo` section in this arm only, e.g. {kl: {coef: 0.2}}."""

    @field_validator("settings", mode="before")
    @classmethod
    def _dotted_keys_are_sections(cls, settings: object) -> object:
        return unfold(settings) if isinstance(settings, dict) else settings

    @model_validator(mode="after")
    def _cells_stay_comparable(self) -> Self:
        given = [key for key in (*_SHARED, "reward") if key in self.settings]
        if given:
            advice = (
                "it has a place of its own in the arm"
                if given[0] == "reward"
                else "held-out scores of one comparison have it in common; set it in ppo"
            )
            raise ValueError(
                f"settings must leave out {given[0]}, received {self.settings[given[0]]!r}; "
                f"{advice}"
            )
        return self

    @classmethod
    def of_mode(cls, mode: RewardMode) -> Self:
        """Returns the arm that a mode stands for when nothing else is said about it."""
        return cls(name=mode.value, reward=RewardConfig(mode=mode))

    @property
    def is_sparse(self) -> bool:
        """Whether the whole score stays on the last token."""
        return self.reward.mode is RewardMode.RLHF

    def apply(self, settings: PpoSettings) -> PpoSettings:
        """Returns the PPO settings of this arm.

        Raises:
            ValueError: A setting of the arm is not one of PPO's, or does not go with the others.
        """
        changed = settings
        if self.settings:
            kind = type(settings)
            changed = kind.model_validate(overlay(settings.model_dump(), self.settings))
        algorithm = changed.ppo
        if self.gae_lambda is not None:
            algorithm = algorithm.replace(gae_lambda=self.gae_lambda)
        return changed.replace(reward=self.reward, ppo=algorithm)

    def at(self, point: Mapping[str, JsonValue]) -> "ArmConfig":
        """Returns the arm at a point of the sweep, named after it: `abc@kl.coef=0.2`.

        A sparse arm has no beta, and is the same for all.
        """
        own = {key: value for key, value in point.items() if key != _BETA or not self.is_sparse}
        if not own:
            return self
        reward, settings = self.reward, dict(self.settings)
        for key, value in own.items():
            if key == _BETA:
                reward = reward.replace(beta=value)
            else:
                settings = overlay(settings, unfold({key: value}))
        name = f"{self.name}@{','.join(f'{key}={value}' for key, value in own.items())}"
        return self.model_copy(update={"name": name, "reward": reward, "settings": settings})


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


def complete_arms(arms: Sequence[ArmConfig]) -> list[ArmConfig]:
    """Returns the arms that a comparison of everything has beside the given ones.

    Every mode that none of them has; sparse rewards at lambda 1; uniform with the beta that the
    other dense modes have by default.
    """
    modes = {arm.reward.mode for arm in arms}
    added = [ArmConfig.of_mode(mode) for mode in RewardMode if mode not in modes]
    if not any(arm.is_sparse and arm.gae_lambda == 1.0 for arm in arms):
        sparse = RewardConfig(mode=RewardMode.RLHF)
        added.append(ArmConfig(name="rlhf-lambda1", reward=sparse, gae_lambda=1.0))
    beta = RewardMode.ABC.default_beta
    if not any(
        arm.reward.mode is RewardMode.UNIFORM and arm.reward.effective_beta == beta for arm in arms
    ):
        uniform = RewardConfig(mode=RewardMode.UNIFORM, beta=beta)
        added.append(ArmConfig(name=f"uniform-{beta:g}", reward=uniform))
    return added


def require_sweepable(sweep: Mapping[str, object]) -> None:
    """Refuses keys that all cells have in common, and those of an arm that a sweep cannot reach.

    Raises:
        ValueError: Names the first.
    """
    for key in sweep:
        section = key.partition(".")[0]
        if section in _SHARED:
            raise ValueError(
                f"sweep must leave out {key}: held-out scores of one comparison have {section} in "
                f"common; set it in ppo, and compare in another folder"
            )
        if section == "reward" and key != _BETA:
            raise ValueError(
                f"sweep must leave out {key}: of an arm's reward only beta is swept; give each "
                f"value an arm of its own"
            )


def sweep_points(sweep: Mapping[str, Sequence[JsonValue]]) -> list[dict[str, JsonValue]]:
    """Returns every combination of the axes' values; without axes, the one point of none."""
    return [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]


def default_contrasts(arms: Sequence[ArmConfig], gae_lambda: float) -> list[ContrastConfig]:
    """Returns what is declared where nobody declares: what each arm could show, and no more.

    Each dense mode against sparse rewards; sparse rewards at lambda 1 against those, because lambda
    alone can do what density does; abc against these, against uniform with the same beta and
    against its own credit on other tokens. Controls are held against abc alone.

    Args:
        arms: In the order of the tables.
        gae_lambda: The lambda of arms that name none.
    """
    sparse = {
        arm.name: gae_lambda if arm.gae_lambda is None else arm.gae_lambda
        for arm in arms
        if arm.is_sparse and not arm.settings
    }
    if not sparse:
        return []
    baseline = min(sparse, key=lambda name: (sparse[name] == 1.0, list(sparse).index(name)))
    undiscounted = [name for name in sparse if sparse[name] == 1.0 and name != baseline]
    dense = [arm for arm in arms if not arm.is_sparse and not arm.reward.mode.is_control]
    declared = [(arm.name, baseline) for arm in dense]
    declared += [(name, baseline) for name in undiscounted]
    for arm in (arm for arm in dense if arm.reward.mode is RewardMode.ABC):
        declared += [(arm.name, name) for name in undiscounted]
        declared += [(arm.name, other.name) for other in arms if _differs_in_content(arm, other)]
    return [ContrastConfig(arm=arm, baseline=other) for arm, other in declared]


def _differs_in_content(arm: ArmConfig, other: ArmConfig) -> bool:
    """Whether the other arm is as dense as abc, with uniform credit or abc's own elsewhere."""
    modes = (RewardMode.UNIFORM, RewardMode.SHUFFLED)
    alike = arm.reward.effective_beta == other.reward.effective_beta
    return alike and other.reward.mode in modes and arm.gae_lambda == other.gae_lambda
