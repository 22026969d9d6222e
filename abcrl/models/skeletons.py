"""Networks without numbers: built from a configuration alone, to count what they would take.

A skeleton has every parameter's shape and type, is on torch's meta device, and takes no memory. It
is put together as the real network is: adapters, a value head and the like can be added.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from abcrl.config import InputError
from abcrl.config.paths import require_model_folder
from abcrl.config.reward import EvidenceConfig, ReadingConfig
from abcrl.config.weights import find_weights, holds_value_head
from abcrl.hub import locate

from .loading import LOADING_ERRORS, first_line
from .reward.model import RewardModel


def causal_lm_skeleton(reference: str, key: str) -> PreTrainedModel:
    """Returns the language model that `load_causal_lm` would load, on the meta device.

    Args:
        reference: Local folder or Hub id, of which config.json is read and nothing else.
        key: Configuration key to name when it cannot be read.

    Raises:
        InputError: There is no configuration, or none of a language model that transformers knows.
    """
    return _build(AutoModelForCausalLM, _read_config(reference, key), reference, key)


def reward_model_skeleton(
    reference: str, key: str, evidence: EvidenceConfig, reading: ReadingConfig
) -> RewardModel:
    """Returns the reward model that `load_reward_model` would load, on the meta device.

    A `v_head` counts as one linear layer: what an MLP has more is small beside the backbone.

    Args:
        reference: Local folder or Hub id, of which config.json is read, and in a folder the names
            of the weights.
        key: Configuration key to name when it cannot be read.
        evidence: Which layer and heads are looked at.
        reading: Which of two labels is positive.

    Raises:
        InputError: There is no configuration, or none of a reward model that transformers knows.
    """
    config = _read_config(reference, key)
    if _has_value_head(reference, config):
        language_model = _build(AutoModelForCausalLM, config, reference, key)
        width = language_model.get_output_embeddings().weight.shape[1]
        model: Any = language_model.base_model
        model.add_module("v_head", nn.Linear(width, 1, device="meta"))
    else:
        model = _build(AutoModelForSequenceClassification, config, reference, key)
    return RewardModel(
        model.requires_grad_(False),
        positive_label=reading.positive_label,
        layer=evidence.layer,
        heads=evidence.heads,
    )


def _read_config(reference: str, key: str) -> PreTrainedConfig:
    require_model_folder(reference, key)
    place = locate(reference, key)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(place)
    except LOADING_ERRORS as error:
        raise _unknown(reference, key, error) from None
    return config


def _has_value_head(reference: str, config: PreTrainedConfig) -> bool:
    folder = Path(reference)
    if folder.is_absolute():
        weights = find_weights(folder)
        return weights is not None and holds_value_head(weights)
    # Of a Hub id the weights are not looked at.
    named = config.architectures or []
    return bool(named) and not any("SequenceClassification" in name for name in named)


def _build(
    kind: Any,  # noqa: ANN401 - one of transformers' Auto classes
    config: PreTrainedConfig,
    reference: str,
    key: str,
) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            model: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    except LOADING_ERRORS as error:
        raise _unknown(reference, key, error) from None
    nn.Module.eval(model)
    return model


def _unknown(reference: str, key: str, error: Exception) -> InputError:
    return InputError(
        f"{key}: must be a model that transformers knows, received {reference} "
        f"({first_line(error)}); check its config.json"
    )
