"""What every test shares: one thread, properties that repeat, and tiny random models.

No model is downloaded: all are built here, from a seed, with weights large enough that attention
and logits are far from uniform.
"""

from collections.abc import Callable
from typing import Any

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

from abcrl.models import train_tokenizer

# Thread counts change sums in the last digit, and on a busy machine cost time.
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

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
_SPECIFIC: dict[str, dict[str, Any]] = {
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8},
    "gptj": {"rotary_dim": 4},
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
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
    """build(architecture="gpt2", *, seed=0, **config): a random classifier, two labels."""
    return lambda architecture="gpt2", *, seed=0, **options: _build(
        AutoModelForSequenceClassification, architecture, seed, {"num_labels": 2, **options}
    )


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer with a few merges."""
    return train_tokenizer(["The plot was good, and the acting was not. "] * 3, 300)


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
