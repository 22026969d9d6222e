"""What every test shares: one thread, properties that repeat, and tiny random models.

No model is downloaded: all are built here, from a seed, with weights large enough that attention
and logits are far from uniform.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
from hypothesis import settings
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from abcrl.config import PpoConfig, RewardMode, SftConfig, TrainRmConfig, load_config
from abcrl.models import train_tokenizer

# Thread counts change sums in the last digit, and on a busy machine cost time.
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# Nobody's own cache is read or filled, neither here nor by the commands that tests start.
_CACHE = tempfile.mkdtemp(prefix="abcrl-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["HF_DATASETS_CACHE"] = _CACHE
datasets.config.HF_DATASETS_CACHE = Path(_CACHE)

settings.register_profile("abcrl", deadline=None, derandomize=True)
settings.load_profile("abcrl")

BuildModel = Callable[..., PreTrainedModel]

_COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
_LABELS = {
    "id2label": {0: "negative", 1: "positive"},
    "label2id": {"negative": 0, "positive": 1},
}
_SPECIFIC: dict[str, dict[str, Any]] = {
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8},
    "gptj": {"rotary_dim": 4},
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
}


@pytest.fixture(scope="session")
def tiny_causal_lm() -> BuildModel:
    """build(architecture="gpt2", *, seed=0, **config): a random language model in eval mode."""
    return lambda architecture="gpt2", *, seed=0, **options: _build(
        AutoModelForCausalLM, architecture, seed, options
    )


@pytest.fixture(scope="session")
def tiny_classifier() -> BuildModel:
    """build(architecture="gpt2", *, seed=0, **config): a random negative/positive classifier."""
    return lambda architecture="gpt2", *, seed=0, **options: _build(
        AutoModelForSequenceClassification, architecture, seed, {**_LABELS, **options}
    )


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer with a few merges."""
    return train_tokenizer(["The plot was good, and the acting was not. "] * 3, 300)


@dataclass(frozen=True)
class TinyRuns:
    """The pipeline at its smallest, on generated reviews: configurations, and two finished runs.

    Attributes:
        root: Folder of the finished runs.
        architecture: What the models are made of.
    """

    root: Path
    architecture: str = "gpt2"

    @property
    def policy(self) -> Path:
        """The SFT model."""
        return self.root / "sft" / "final"

    @property
    def reward_model(self) -> Path:
        """The reward model."""
        return self.root / "reward-model" / "final"

    def sft(self, output: Path, **changes: object) -> SftConfig:
        """sft(output, training__epochs=2.0): an SFT run of a second."""
        settings = {**_TINY_MODEL, **_TINY_TRAINING, "model.architecture": self.architecture}
        return load_config(SftConfig, flags=_flags(settings, output, changes))

    def train_rm(self, output: Path, **changes: object) -> TrainRmConfig:
        """A reward-model run of a second, from the SFT model."""
        settings = {**_TINY_TRAINING, "model": str(self.policy), "credit_texts": 8}
        return load_config(TrainRmConfig, flags=_flags(settings, output, changes))

    def ppo(self, output: Path, mode: str = "abc", **changes: object) -> PpoConfig:
        """A PPO run of three steps, evaluated at steps 0, 2 and 3."""
        settings = {
            **TINY_PPO,
            "policy": str(self.policy),
            "reward_model": str(self.reward_model),
            "reward.mode": mode,
        }
        return load_config(PpoConfig, flags=_flags(settings, output, changes))


_TINY_MODEL = {"model.base": "tiny", "model.context_length": 96, "model.vocab_size": 400}
_TINY_TRAINING = {
    "data.limit": 300,
    "training.max_steps": 15,
    "training.batch_size": 8,
    "training.max_length": 80,
    "training.learning_rate": 3e-3,
    "training.log_interval": 5,
}
TINY_PPO = {
    "steps": 3,
    "data.limit": 300,
    "prompt.min_characters": 0,
    "ppo.batch_size": 4,
    "ppo.mini_batch_size": 2,
    "ppo.learning_rate": 1e-3,
    "score.center_samples": 8,
    "reward.reference_responses": 12,
    "evaluation.interval": 2,
    "evaluation.prompts": 4,
    "evaluation.samples": 2,
}


def _flags(settings: dict[str, Any], output: Path, changes: dict[str, object]) -> dict[str, object]:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return {**settings, "run.output": str(output), **named}


@pytest.fixture(scope="session")
def make_tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyRuns]:
    """make(architecture): trains SFT and reward model in a folder of their own."""
    from abcrl.reporter import SilentReporter
    from abcrl.stages.sft import run_sft
    from abcrl.stages.train_rm import run_train_rm

    def make(architecture: str) -> TinyRuns:
        runs = TinyRuns(tmp_path_factory.mktemp(architecture), architecture)
        run_sft(runs.sft(runs.root / "sft"), SilentReporter())
        run_train_rm(runs.train_rm(runs.root / "reward-model"), SilentReporter())
        return runs

    return make


@pytest.fixture(scope="session")
def tiny_runs(make_tiny_runs: Callable[[str], TinyRuns]) -> TinyRuns:
    """The whole pipeline in gpt2, trained once."""
    return make_tiny_runs("gpt2")


@pytest.fixture(scope="session")
def tiny_ppo_runs(tiny_runs: TinyRuns) -> Mapping[str, Path]:
    """The folder of one finished PPO run for each reward mode, all with seed 0."""
    return _TinyPpoRuns(tiny_runs)


class _TinyPpoRuns(Mapping[str, Path]):
    """Each is run when it is first asked for."""

    def __init__(self, runs: TinyRuns) -> None:
        self._runs = runs

    def __getitem__(self, mode: str) -> Path:
        from abcrl.reporter import SilentReporter
        from abcrl.stages.ppo import run_ppo

        folder = self._runs.root / RewardMode(mode).value
        if not folder.exists():
            run_ppo(self._runs.ppo(folder, mode), SilentReporter())
        return folder

    def __iter__(self) -> Iterator[str]:
        return (mode.value for mode in RewardMode)

    def __len__(self) -> int:
        return len(RewardMode)


def _build(kind: Any, architecture: str, seed: int, options: dict[str, Any]) -> PreTrainedModel:
    config = AutoConfig.for_model(
        architecture, **{**_COMMON, **_SPECIFIC.get(architecture, {}), **options}
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = kind.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            # Matrices are replaced; norms and biases keep their place and move a little.
            parameter.mul_(parameter.ndim == 1).add_(0.2 * draw)
    return model
