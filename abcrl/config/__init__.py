"""Every choice a run has: frozen groups, one root model per command. Imports no torch."""

from .arms import ArmConfig
from .cells import Cell, StageRun, plan_cells, runs_by_stage, shared_stages
from .checkpoint import CheckpointConfig, TrainingCheckpointConfig, differing_settings
from .columns import ColumnsConfig, RowsConfig
from .compare import CompareConfig, parse_seeds
from .contrasts import ContrastConfig
from .credit import CreditConfig
from .data import DataConfig
from .errors import InputError, RunFailedError
from .eval import EvalConfig
from .grid import GridConfig
from .inspect import InspectConfig
from .load import differing_keys, flatten, load_config, read_yaml, to_yaml, validate
from .networks import AdaptationConfig, LoraConfig, NetworksConfig
from .ppo import AlgorithmConfig, EvaluationConfig, OptimizerConfig, PpoConfig, PpoSettings
from .reward import KlConfig, RewardConfig, RewardMode, ScoreConfig
from .run import MachineConfig, RunConfig
from .sampling import PromptConfig, ResponseConfig
from .sft import SftConfig, SftSettings
from .streams import stream_seed
from .train_rm import RewardModelSettings, TrainRmConfig
from .training import ModelConfig, TrainingConfig, TruncationConfig

__all__ = [
    "AdaptationConfig",
    "AlgorithmConfig",
    "ArmConfig",
    "Cell",
    "CheckpointConfig",
    "ColumnsConfig",
    "CompareConfig",
    "ContrastConfig",
    "CreditConfig",
    "DataConfig",
    "EvalConfig",
    "EvaluationConfig",
    "GridConfig",
    "InputError",
    "InspectConfig",
    "KlConfig",
    "LoraConfig",
    "MachineConfig",
    "ModelConfig",
    "NetworksConfig",
    "OptimizerConfig",
    "PpoConfig",
    "PpoSettings",
    "PromptConfig",
    "ResponseConfig",
    "RewardConfig",
    "RewardMode",
    "RewardModelSettings",
    "RowsConfig",
    "RunConfig",
    "RunFailedError",
    "ScoreConfig",
    "SftConfig",
    "SftSettings",
    "StageRun",
    "TrainRmConfig",
    "TrainingCheckpointConfig",
    "TrainingConfig",
    "TruncationConfig",
    "differing_keys",
    "differing_settings",
    "flatten",
    "load_config",
    "parse_seeds",
    "plan_cells",
    "read_yaml",
    "runs_by_stage",
    "shared_stages",
    "stream_seed",
    "to_yaml",
    "validate",
]
