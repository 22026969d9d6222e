"""`abcrl compare`: arms, seeds, contrasts, and the settings of the three stages it runs."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from .arms import (
    ALL_MODES,
    ArmConfig,
    apply_at,
    complete_arms,
    require_swept,
)
from .base import Group
from .contrasts import ContrastConfig, default_contrasts, require_declarable
from .errors import InputError
from .grid import GridConfig
from .load import validate
from .paths import ModelReference, OutputPath
from .ppo import PpoSettings
from .reward import RewardMode
from .run import MachineConfig
from .sft import SftSettings
from .sweep import Axis, require_sweepable, sweep_points
from .train_rm import RewardModelSettings

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
    grid: GridConfig = GridConfig()
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
    def _a_cluster_chooses_the_device(self) -> Self:
        if self.grid.engine == "ray" and self.machine.device.startswith("cuda:"):
            raise ValueError(
                f"machine.device must be auto, cpu, cuda or mps with grid.engine ray, which gives "
                f"each cell a GPU of its own, received {self.machine.device!r}; set it to cuda"
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
        require_declarable(self.contrasts or [], list(names))
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
    def _prompts_are_written_alike(self) -> Self:
        sections = {"sft": self.sft, "train_rm": self.train_rm, "ppo": self.ppo}
        written = {
            f"{name}.data.template": section.data.template
            for name, section in sections.items()
            if section is not None and not section.data.built_in
        }
        _require_equal(written, "all stages must write prompts for the policy in the same way")
        return self

    @model_validator(mode="after")
    def _reward_model_texts_fit_the_context(self) -> Self:
        if self.train_rm is not None:
            self._require_fit("train_rm.training.max_length", self.train_rm.training.max_length)
        return self

    @model_validator(mode="after")
    def _arms_go_with_the_settings(self) -> Self:
        require_sweepable(self.sweep)
        for point in sweep_points(self.sweep):
            for arm in self.arms:
                applied = apply_at(arm, point, self.ppo)
                self._require_agreement(arm.at(point).name, applied)
        require_swept(self.arms, self.sweep, self.ppo)
        return self

    @model_validator(mode="after")
    def _margins_are_of_one_contrast(self) -> Self:
        whole: dict[tuple[str, str], ContrastConfig] = {}
        for one in self._contrasts_by_point():
            if whole.setdefault((one.arm, one.baseline), one) != one:
                raise ValueError(
                    f"margin_of must name arms that the sweep leaves alone where it leaves "
                    f"{one.arm} and {one.baseline} alone, received {one.margin_of}; state the "
                    f"margin in score units"
                )
        return self

    def _require_agreement(self, name: str, applied: PpoSettings) -> None:
        """Refuses an arm whose texts the models cannot read, or have not learnt to read."""
        where = "" if applied.response == self.ppo.response else f" of arm {name}"
        self._require_fit(
            f"ppo.prompt.max_tokens + ppo.response.cap_high{where}",
            applied.prompt.max_tokens + applied.response.cap_high,
        )
        if self.train_rm is not None:
            where = "" if applied.score == self.ppo.score else f" of arm {name}"
            read = {
                "train_rm.template": self.train_rm.template,
                f"ppo.score.template{where}": applied.score.template,
            }
            _require_equal(read, "PPO must give the reward model what it was trained on")

    def _require_fit(self, key: str, length: int) -> None:
        context = None if self.sft is None else self.sft.context_length
        if context is not None and length > context:
            raise ValueError(
                f"{key} must fit sft.model.context_length ({context} tokens), received "
                f"{length}; lower it or give the model a longer context"
            )

    def select_arms(self, names: Sequence[str]) -> Self:
        """Returns the comparison of some arms: by name, or the default arm of a reward mode.

        `all` alone: the arms that are there, and those of `complete_arms`.

        Declared contrasts of arms that are left out are left out too; if none is left, the default
        ones are declared, unless none was declared on purpose.

        Raises:
            InputError: A name is neither, or the arms do not go with the other settings.
        """
        known = {arm.name: arm for arm in self.arms}
        modes = {mode.value: ArmConfig.of_mode(mode) for mode in RewardMode}
        if list(names) == [ALL_MODES]:
            others = complete_arms(self.arms, self.ppo, self.sweep)
            modes |= {arm.name: arm for arm in others}
            names = [*known, *(arm.name for arm in others)]
        unknown = [name for name in names if name not in {**known, **modes}]
        if unknown:
            raise InputError(
                f"--modes: must name arms ({', '.join(known)}) or reward modes "
                f"({', '.join(modes)}), received {unknown[0]!r}"
            )
        contrasts = self.contrasts
        if contrasts:
            contrasts = [one for one in contrasts if one.arms <= set(names)] or None
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
        return list({(one.arm, one.baseline): one for one in self._contrasts_by_point()}.values())

    def _contrasts_by_point(self) -> list[ContrastConfig]:
        """Those of every point; of arms that the sweep leaves alone they come more than once."""
        found: list[ContrastConfig] = []
        for point in sweep_points(self.sweep):
            arms = {arm.name: arm.at(point) for arm in self.arms}
            if self.contrasts is None:
                found += default_contrasts(list(arms.values()), self.ppo)
            else:
                names = {name: arm.name for name, arm in arms.items()}
                found += [contrast.rename(names) for contrast in self.contrasts]
        return found
