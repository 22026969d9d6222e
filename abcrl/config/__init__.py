"""Every choice a run has: frozen groups, one root model per command. Imports no torch."""

from .checkpoint import CheckpointConfig, differing_settings
from .compare import ArmConfig, CompareConfig, ContrastConfig, parse_seeds
from .credit import CreditConfig
from .data import DataConfig, PromptConfig, ResponseConfig
from .errors import InputError, RunFailedError
from .eval import EvalConfig
from .load import differing_keys, load_config, read_yaml, to_yaml, validate
from .networks import LoraConfig, NetworksConfig
from .ppo import AlgorithmConfig, EvaluationConfig, OptimizerConfig, PpoConfig, PpoSettings
from .reward import KlConfig, RewardConfig, RewardMode, ScoreConfig
from .run import MachineConfig, RunConfig
from .sft import SftConfig, SftSettings
from .streams import stream_seed
from .train_rm import RewardModelSettings, TrainRmConfig
from .training import ModelConfig, TrainingConfig, TruncationConfig

__all__ = [
    "AlgorithmConfig",
    "ArmConfig",
    "CheckpointConfig",
    "CompareConfig",
    "ContrastConfig",
    "CreditConfig",
    "DataConfig",
    "EvalConfig",
    "EvaluationConfig",
    "InputError",
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
    "RunConfig",
    "RunFailedError",
    "ScoreConfig",
    "SftConfig",
    "SftSettings",
    "TrainRmConfig",
    "TrainingConfig",
    "TruncationConfig",
    "differing_keys",
    "differing_settings",
    "load_config",
    "parse_seeds",
    "read_yaml",
    "stream_seed",
    "to_yaml",
    "validate",
]
