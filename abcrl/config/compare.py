"""`abcrl compare`: arms, seeds, contrasts, and the settings of the three stages it runs."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, ValidationError, model_validator

from .arms import (
    ALL_MODES,
    ArmConfig,
    Axis,
    ContrastConfig,
    complete_arms,
    default_contrasts,
    require_sweepable,
    sweep_points,
)
from .base import Group
from .errors import InputError
from .explain import explain
from .load import validate
from .paths import ModelReference, OutputPath
from .ppo import PpoSettings
from .reward import RewardMode
from .run import MachineConfig
from .sft import SftSettings
from .train_rm import RewardModelSettings

Seed = Annotated[int, Field(ge=0)]


_MOST_SEEDS = 1000


def _require_equal(values: Mapping[str, object], rule: str) -> None:
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{key} {value!r}" for key, value in values.items())
        raise ValueError(f"{rule}; received {shown}; make them equal")


def parse_seeds(text: str) -> list[int]:
    """Returns the seeds of `0-9` or `0,3,5` or `0-4,10`.

    Raises:
        InputError: The text is neither.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise InputError(
                f"--seeds: must read like 0-9 or 0,3,5, received {text!r}; give a range or a list"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= _MOST_SEEDS:
            raise InputError(
                f"--seeds: must be at most {_MOST_SEEDS} seeds, received {text!r}; give fewer"
            )
        seeds.extend(range(first, last + 1))
    return seeds


class CompareConfig(Group):
    """Train SFT and reward model once, then every arm with every seed, and compare."""

    STAGES: ClassVar[tuple[str, ...]] = ("sft", "train_rm", "ppo")

    output: OutputPath = "runs/compare"
    """Folder of the comparison; a later call with the same configuration goes on there."""
    jobs: Annotated[int, Field(ge=1)] | None = None
    """Cells at the same time; null: one per CPU core, one on a GPU. Changes no result."""
    machine: MachineConfig = MachineConfig()
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=lambda: [0, 1, 2], min_length=1
    )
    """Seeds of the PPO runs; every arm runs with each of them."""
    arms: list[ArmConfig] = Field(
        default_factory=lambda: [ArmConfig.of_mode(mode) for mode in RewardMode if mode.in_paper],
        min_length=1,
    )
    """The arms, in the order of the tables; unless given, the paper's five modes."""
    sweep: dict[str, Axis] = Field(default_factory=dict)
    """Repeat every arm for each value of some keys of the `ppo` section, or reward.beta, e.g.
    {kl.coef: [0.05, 0.1, 0.2]}; of several keys, for every combination."""
    contrasts: list[ContrastConfig] | None = None
    """Declared contrasts, at every point of a sweep; null: each dense mode and rlhf at lambda 1
    against rlhf, and abc against rlhf at lambda 1, uniform at the same beta, and shuffled."""
    sft: SftSettings | None = SftSettings()
    """null: take the model named by `policy`."""
    train_rm: RewardModelSettings | None = RewardModelSettings()
    """null: take the model named by `reward_model`."""
    ppo: PpoSettings = PpoSettings()
    policy: ModelReference | None = None
    """An SFT model that exists already: a local folder or a Hub id."""
    reward_model: ModelReference | None = None
    """A reward model that exists already: a local folder or a Hub id."""

    @model_validator(mode="after")
    def _stages_have_models(self) -> Self:
        for stage, model in (("sft", "policy"), ("train_rm", "reward_model")):
            if (getattr(self, stage) is None) == (getattr(self, model) is None):
                raise ValueError(
                    f"exactly one of {stage} and {model} must be given (the other null): {stage} "
                    f"trains the model, {model} names one that exists"
                )
        return self

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> Self:
        names = Counter(arm.name for arm in self.arms)
        repeated = [name for name, count in names.items() if count > 1]
        if repeated:
            raise ValueError(f"arms must have different names, received {repeated[0]!r} twice")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different, received {self.seeds}")
        for contrast in self.contrasts or []:
            unknown = contrast.arms - set(names)
            if unknown:
                raise ValueError(
                    f"contrasts must name arms ({', '.join(names)}), received {min(unknown)!r}"
                )
        return self

    @model_validator(mode="after")
    def _stages_hold_out_the_same_texts(self) -> Self:
        sections = {"sft": self.sft, "train_rm": self.train_rm, "ppo": self.ppo}
        data = {name: section.data for name, section in sections.items() if section is not None}
        # Sources may differ: whether a text is held out depends on the text, not on its source.
        for key in ("seed", "validation_fraction"):
            _require_equal(
                {f"{name}.data.{key}": getattr(section, key) for name, section in data.items()},
                "all stages must divide texts in the same way, or one would train on what another "
                "holds out",
            )
        return self

    @model_validator(mode="after")
    def _models_read_what_they_were_trained_on(self) -> Self:
        sections = {"sft": self.sft, "train_rm": self.train_rm, "ppo": self.ppo}
        written = {
            f"{name}.data.template": section.data.template
            for name, section in sections.items()
            if section is not None and not section.data.built_in
        }
        _require_equal(written, "all stages must write prompts for the policy in the same way")
        if self.train_rm is not None:
            read = {
                "train_rm.template": self.train_rm.template,
                "ppo.score.template": self.ppo.score.template,
            }
            _require_equal(read, "PPO must give the reward model what it was trained on")
        return self

    @model_validator(mode="after")
    def _everything_fits_the_context(self) -> Self:
        context = None if self.sft is None else self.sft.context_length
        if context is None:
            return self
        lengths = {
            "ppo.prompt.max_tokens + ppo.response.cap_high": (
                self.ppo.prompt.max_tokens + self.ppo.response.cap_high
            ),
        }
        if self.train_rm is not None:
            lengths["train_rm.training.max_length"] = self.train_rm.training.max_length
        for key, length in lengths.items():
            if length > context:
                raise ValueError(
                    f"{key} must fit sft.model.context_length ({context} tokens), received "
                    f"{length}; lower it or give the model a longer context"
                )
        return self

    @model_validator(mode="after")
    def _arms_go_with_the_settings(self) -> Self:
        require_sweepable(self.sweep)
        for arm in self.swept_arms:
            try:
                arm.apply(self.ppo).require_undiscounted()
            except ValidationError as error:
                raise ValueError(f"arm {arm.name}: {explain(PpoSettings, error)[0]}") from None
            except ValueError as error:
                raise ValueError(f"arm {arm.name}: {error}") from None
        return self

    def select_arms(self, names: Sequence[str]) -> Self:
        """Returns the comparison of some arms: by name, or the default arm of a reward mode.

        `all` alone: the arms that are there, every other mode, rlhf at lambda 1, and uniform with
        the beta of the other dense modes.

        Declared contrasts of arms that are left out are left out too; if none is left, the default
        ones are declared.

        Raises:
            InputError: A name is neither, or the arms do not go with the other settings.
        """
        known = {arm.name: arm for arm in self.arms}
        modes = {mode.value: ArmConfig.of_mode(mode) for mode in RewardMode}
        if list(names) == [ALL_MODES]:
            names = [*known, *(arm.name for arm in complete_arms(self.arms))]
            modes |= {arm.name: arm for arm in complete_arms(self.arms)}
        unknown = [name for name in names if name not in {**known, **modes}]
        if unknown:
            raise InputError(
                f"--modes: must name arms ({', '.join(known)}) or reward modes "
                f"({', '.join(modes)}), received {unknown[0]!r}"
            )
        contrasts = self.contrasts
        if contrasts is not None:
            kept = [one for one in contrasts if one.arms <= set(names)]
            contrasts = kept or None
        arms = [{**modes, **known}[name] for name in dict.fromkeys(names)]
        return validate(type(self), {**self.__dict__, "arms": arms, "contrasts": contrasts})

    @property
    def swept_arms(self) -> list[ArmConfig]:
        """The arms at every point of the sweep, point by point; without one, the arms."""
        arms = [arm.at(point) for point in sweep_points(self.sweep) for arm in self.arms]
        return list({arm.name: arm for arm in arms}.values())

    @property
    def declared_contrasts(self) -> list[ContrastConfig]:
        """The contrasts in force: the given ones, else the default ones; at every point of a sweep.

        See `default_contrasts`.
        """
        declared = self.contrasts
        if declared is None:
            declared = default_contrasts(self.arms, self.ppo.ppo.gae_lambda)
        swept = []
        for point in sweep_points(self.sweep):
            names = {arm.name: arm.at(point).name for arm in self.arms}
            swept += [contrast.rename(names) for contrast in declared]
        return list({(one.arm, one.baseline): one for one in swept}.values())
