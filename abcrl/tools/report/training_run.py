"""What there is to report of a supervised run: the SFT model's, or the reward model's."""

from pathlib import Path

from abcrl.analysis import summarise
from abcrl.analysis.comparison import Comparison
from abcrl.config import InputError, SftConfig, TrainRmConfig, load_config, read_yaml
from abcrl.storage import read_reason, read_rows, read_status

from .contents import Report
from .facts import Stage, all_settings, cut_folder, read_facts, say_ending


def read_training_run(folder: Path) -> Report | None:
    """Returns what a run of sft or train-rm says, finished or not; None where there is none.

    Raises:
        InputError: Its config.yaml is not valid.
    """
    file = folder / "config.yaml"
    keys = read_yaml(file).keys() if file.is_file() else set()
    if not {"model", "training", "run"} <= keys:
        return None
    is_reward_model = "objective" in keys
    kind: type[TrainRmConfig | SftConfig] = TrainRmConfig if is_reward_model else SftConfig
    config = load_config(kind, file=file)
    status = read_status(folder) or "missing"
    troubles = []
    try:
        rows = read_rows(folder, "metrics")
    except InputError as error:
        rows, troubles = [], [cut_folder(error, folder)]
    name = "Reward model" if is_reward_model else "SFT model"
    stages = [Stage(name, str(folder / "final"), status, rows[-1] if rows else {})]
    if isinstance(config, TrainRmConfig):
        stages.append(Stage.read("SFT model", config.model))
    seed = config.run.seed
    return Report(
        title=f"{name}, seed {seed}{say_ending(status, read_reason(folder))}",
        folder=folder,
        command="train-rm" if is_reward_model else "sft",
        found=Comparison([], [], summarise([], [], [])),
        settings=all_settings(file),
        stages=tuple(stages),
        facts=read_facts([(seed, folder)]),
        troubles=tuple(troubles),
        rows=rows,
    )
