"""What a comparison consists of: the runs that all cells share, and the cells."""

from dataclasses import dataclass
from pathlib import Path

from .arms import ArmConfig
from .compare import CompareConfig
from .ppo import PpoConfig
from .run import RunConfig
from .sft import SftConfig
from .train_rm import TrainRmConfig

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
        for arm in config.swept_arms:
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


def runs_by_stage(config: CompareConfig) -> dict[str, list[StageRun]]:
    """Returns every run, in pipeline order, by the section that configures it."""
    sft, reward_model = shared_stages(config)
    return {
        "sft": [] if sft is None else [sft],
        "train_rm": [] if reward_model is None else [reward_model],
        "ppo": [cell.run for cell in plan_cells(config)],
    }
