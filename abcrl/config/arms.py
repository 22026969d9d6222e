"""The arms of a comparison: reward modes with their options, and what a sweep makes of them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from .base import Group
from .explain import explain
from .load import flatten, overlay, unfold
from .ppo import PpoSettings
from .reward import RewardConfig, RewardMode
from .sweep import BETA, GAE_LAMBDA, SHARED, SweepPoint, overlap, sweep_points, swept_keys

ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
# Such a name, and the point of a sweep: all that a folder's name may hold.
_SWEPT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._,=#-]+)?")
_LONGEST_NAME = 120
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
        given = [key for key in (*SHARED, "reward") if key in self.settings]
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
        if self.gae_lambda is not None and GAE_LAMBDA in flatten(self.settings):
            raise ValueError(
                f"settings must leave out {GAE_LAMBDA}: the arm has gae_lambda {self.gae_lambda}"
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

    def effective(self, settings: PpoSettings) -> dict[str, Any]:
        """Returns what decides the arm's runs, by dotted key.

        Beta is the one in force, and keys that nothing reads with the others as they are have no
        part in it.
        """
        applied = self.apply(settings)
        values = flatten(applied.model_dump(mode="json"))
        values[BETA] = applied.reward.effective_beta
        for key in _unread(applied):
            del values[key]
        return values

    @property
    def own_keys(self) -> set[str]:
        """The keys of the `ppo` section that a sweep would take from the arm."""
        keys = set(flatten(self.settings)) if self.settings else set()
        if self.gae_lambda is not None:
            keys.add(GAE_LAMBDA)
        if self.reward.beta is not None:
            keys.add(BETA)
        return keys

    def at(self, point: SweepPoint) -> "ArmConfig":
        """Returns the arm at a point of the sweep, named after it: `abc@kl.coef=0.2`.

        A sparse arm has no beta, and is the same for all.
        """
        own = [key for key in point.values if key != BETA or not self.is_sparse]
        if not own:
            return self
        reward, settings = self.reward, dict(self.settings)
        for key in own:
            if key == BETA:
                reward = reward.replace(beta=point.values[key])
            else:
                settings = overlay(settings, unfold({key: point.values[key]}))
        name = f"{self.name}@{','.join(f'{key}={point.labels[key]}' for key in own)}"
        return self.model_copy(update={"name": name, "reward": reward, "settings": settings})


def _unread(settings: PpoSettings) -> list[str]:
    """Returns the keys that nothing reads with the others as they are."""
    score, kl = settings.score, settings.kl
    return [
        *(["kl.target", "kl.horizon"] if kl.controller == "fixed" else []),
        *(["kl.loss_coef"] if kl.loss == "none" else []),
        *(["score.center_samples"] if score.center == "none" and score.scale != "sft" else []),
    ]


def apply_at(arm: ArmConfig, point: SweepPoint, settings: PpoSettings) -> PpoSettings:
    """Returns the PPO settings of an arm at a point of the sweep.

    Raises:
        ValueError: In one line: a setting is none or does not go with the others, a mode that
            spreads the score is discounted, or the arm has no name there that a folder could have.
    """
    name = arm.name
    try:
        there = arm.at(point)
        name = there.name
        applied = there.apply(settings)
        applied.require_undiscounted()
    except ValidationError as error:
        root = RewardConfig if error.title == RewardConfig.__name__ else PpoSettings
        raise ValueError(f"arm {name}: {explain(root, error)[0]}") from None
    except ValueError as error:
        raise ValueError(f"arm {name}: {error}") from None
    if len(name) > _LONGEST_NAME or not _SWEPT_NAME.fullmatch(name):
        raise ValueError(
            f"arm {name}: with the point of the sweep its name must be at most {_LONGEST_NAME} "
            f"letters, digits and . _ -, received {len(name)}; give the arm a shorter one, or "
            f"sweep fewer keys"
        )
    return applied


def require_swept(
    arms: Sequence[ArmConfig], sweep: Mapping[str, Sequence[JsonValue]], settings: PpoSettings
) -> None:
    """Refuses a sweep of what arms set themselves, and one that changes nothing in an arm.

    Args:
        arms: As they are without the sweep.
        sweep: Values by key; see `require_sweepable`.
        settings: What is in force where an arm says nothing else.

    Raises:
        ValueError: Names arm and key.
    """
    for key, values in sweep.items():
        for arm in arms:
            taken = overlap(swept_keys(key, values), arm.own_keys)
            if taken:
                raise ValueError(
                    f"sweep must leave out {key}: arm {arm.name} sets {taken[0]} itself; remove "
                    f"it there, or give each value an arm of its own"
                )
        if key == BETA and all(arm.is_sparse for arm in arms):
            raise ValueError(f"sweep must leave out {key}: none of the arms has a beta")
    for arm in arms:
        seen: dict[str, str] = {}
        for one in {one.name: one for one in map(arm.at, sweep_points(sweep))}.values():
            same = seen.setdefault(json.dumps(one.effective(settings), sort_keys=True), one.name)
            if same != one.name:
                raise ValueError(
                    f"sweep must change what arms do: {same} and {one.name} would be the same run"
                )


def complete_arms(
    arms: Sequence[ArmConfig], settings: PpoSettings, sweep: Mapping[str, Sequence[JsonValue]]
) -> list[ArmConfig]:
    """Returns the arms that a comparison of everything has beside the given ones.

    Every mode that none of them has; sparse rewards at lambda 1; uniform with abc's beta. What is
    swept needs no such arm: the sweep says where lambda is 1, and gives uniform and abc one beta.

    Args:
        arms: The given ones.
        settings: What is in force where an arm says nothing else.
        sweep: Values by key.
    """
    modes = {arm.reward.mode for arm in arms}
    added = [ArmConfig.of_mode(mode) for mode in RewardMode if mode not in modes]
    swept = {leaf for key, values in sweep.items() for leaf in swept_keys(key, values)}
    have = [*arms, *added]
    somewhere = sweep_points(sweep)[0]
    applied = [arm.at(somewhere).apply(settings) for arm in have if arm.is_sparse]
    sparse = [one.ppo.gae_lambda for one in applied]
    if 1.0 not in sparse and GAE_LAMBDA not in swept:
        rlhf = RewardConfig(mode=RewardMode.RLHF)
        added.append(ArmConfig(name="rlhf-lambda1", reward=rlhf, gae_lambda=1.0))
    betas = {
        mode: [arm.reward.effective_beta for arm in have if arm.reward.mode is mode]
        for mode in (RewardMode.ABC, RewardMode.UNIFORM)
    }
    beta = betas[RewardMode.ABC][0]
    if beta not in betas[RewardMode.UNIFORM] and BETA not in swept:
        uniform = RewardConfig(mode=RewardMode.UNIFORM, beta=beta)
        added.append(ArmConfig(name=f"uniform-{beta:g}", reward=uniform))
    return added
