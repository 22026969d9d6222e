"""How a model that is trained on texts computes: adapters, 4 bits, bfloat16, less memory."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel

from abcrl.config import AdaptationConfig, InputError

from .adapters import Adapters, add_adapters
from .precision import require_bf16
from .quantization import require_nf4


def require_adaptation(config: AdaptationConfig, device: torch.device) -> None:
    """Refuses what this machine cannot do, before anything is read.

    Raises:
        InputError: It names the key.
    """
    if config.quantization == "nf4":
        require_nf4(device)
    if config.precision == "bf16":
        require_bf16(device, "networks.precision")


def adapt(
    model: PreTrainedModel, config: AdaptationConfig, *, seed: int, whole: Sequence[str] = ()
) -> Adapters | None:
    """Puts on what the configuration asks for; returns the adapters, if there are any.

    Args:
        model: On its device; with quantization nf4, loaded in 4 bits. Changed in place.
        config: The section `networks`.
        seed: Decides the adapters' first weights.
        whole: Names of modules that are trained as they are, such as a new head.

    Raises:
        InputError: The model does not support it.
    """
    adapters = None
    if config.lora is not None:
        adapters = add_adapters(model, config.lora, seed=seed, whole=whole)
        if config.quantization != "none":
            # Trainer trains a quantised model only where transformers knows of its adapters.
            model._hf_peft_config_loaded = True
    if config.gradient_checkpointing:
        recompute_activations(model)
    return adapters


def computing(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Has forward passes in the block compute in float32 or, by autocast, in bf16."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def recompute_activations(trunk: PreTrainedModel) -> None:
    """Has the backward pass compute activations again, which the forward pass then does not keep.

    Raises:
        InputError: The architecture does not support it.
    """
    if not trunk.supports_gradient_checkpointing:
        raise InputError(
            f"networks.gradient_checkpointing: must be false for model type "
            f"{trunk.config.model_type!r}, which does not support it, received true; remove it"
        )
    # The name in newer versions of transformers, where the older one warns.
    newer = getattr(trunk, "activation_checkpointing_enable", None)
    enable = trunk.gradient_checkpointing_enable if newer is None else newer
    enable({"use_reentrant": False})
