"""Low-rank adapters on a model: put on, switched off for the reference, merged for saving.

They are injected into the model in place, so that it stays the class it was: it generates, shows
its attention and computes logits as before. What PEFT wraps around a model is not needed.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from abcrl.config import InputError, LoraConfig

_KEY = "networks.lora"
_LORA = "lora_"
_BASE = ".base_layer."


@dataclass(frozen=True)
class Adapters:
    """What was put on a model.

    Attributes:
        options: PEFT's LoraConfig.
        whole: Names of the modules that are trained as they are.
    """

    options: Any
    whole: tuple[str, ...]


def add_adapters(
    model: PreTrainedModel, config: LoraConfig, *, seed: int, whole: Sequence[str] = ()
) -> Adapters:
    """Freezes the model and puts adapters on its linear layers, which change nothing at first.

    layer(x) + alpha / rank * B(A(x)), B = 0, A uniform in +-1 / sqrt(inputs of the layer)
    (Hu et al. 2021, arXiv 2106.09685; the distribution of A is PEFT's). No dropout.

    Args:
        model: A causal language model, or a classifier.
        config: Rank, alpha, target modules.
        seed: Decides A; the global generator is neither read nor moved.
        whole: Names of modules that stay trainable and get no adapter, such as a new head.

    Raises:
        InputError: A target module names no linear layer.
    """
    import peft  # a second, and only runs with adapters need it

    targets = _targets(model, config, whole)
    model.requires_grad_(False)
    transposed = isinstance(model.get_submodule(targets[0]), Conv1D)
    options = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # declared int, used as a factor
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=transposed,
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws an A, which is not kept
        peft.inject_adapter_in_model(options, model)
    for name in whole:  # PEFT freezes all that is no adapter
        model.get_submodule(name).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                draw = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.copy_(draw / math.sqrt(parameter.shape[1]))
    return Adapters(options, tuple(whole))


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Runs the model without its adapters; for passes without gradient only."""
    layers = _adapted(model).values()
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)


def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns the weights of the same model without adapters that computes the same.

    The model keeps its adapters. Without any, these are its own weights.
    """
    weights = {
        name.replace(_BASE, "."): tensor
        for name, tensor in model.state_dict().items()
        if _LORA not in name
    }
    for name, layer in _adapted(model).items():
        weight = weights[f"{name}.weight"]
        (adapter,) = layer.active_adapters
        weights[f"{name}.weight"] = weight + layer.get_delta_weight(adapter).detach()
    return weights


@torch.no_grad()
def merge_adapters(
    model: PreTrainedModel, adapters: Adapters, into: PreTrainedModel | None = None
) -> PreTrainedModel:
    """Returns a model without adapters that computes the same as one with them.

    Args:
        model: The trained model.
        adapters: What `add_adapters` put on it.
        into: The same model as it was before, where this one is quantised: it receives what was
            learnt. None: this one, whose adapters are gone then.
    """
    target = model if into is None else into
    for name, layer in _adapted(model).items():
        (adapter,) = layer.active_adapters
        delta = layer.get_delta_weight(adapter).detach()
        base: Any = layer.get_base_layer() if into is None else into.get_submodule(name)
        # A quantised layer is [outputs, inputs], whatever it was made of.
        if isinstance(base, Conv1D) != bool(layer.fan_in_fan_out):
            delta = delta.T
        base.weight += delta.to(base.weight.device)
        if into is None:
            model.set_submodule(name, base)
    if into is not None:
        for name in adapters.whole:
            into.get_submodule(name).load_state_dict(model.get_submodule(name).state_dict())
    return target


def save_adapters(model: PreTrainedModel, adapters: Adapters, folder: Path, *, base: str) -> None:
    """Writes the adapters for `peft.PeftModel.from_pretrained(base model, folder)`.

    Args:
        model: With the adapters on.
        adapters: What `add_adapters` put on it; modules that are trained whole are written too.
        folder: Exists; receives adapter_config.json and adapter_model.safetensors.
        base: Folder or Hub id of the model they belong on.
    """
    options = adapters.options
    options.base_model_name_or_path = base
    options.task_type = "CAUSAL_LM" if model.get_output_embeddings() is not None else "SEQ_CLS"
    options.modules_to_save = list(adapters.whole) or None
    options.inference_mode = True
    options.save_pretrained(folder)
    kept = tuple(f"{name}." for name in adapters.whole)
    tensors = {
        f"base_model.model.{name.replace('.default', '')}": tensor.detach().cpu().contiguous()
        for name, tensor in model.named_parameters()
        if _LORA in name or name.startswith(kept)
    }
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def _targets(model: PreTrainedModel, config: LoraConfig, whole: Sequence[str]) -> list[str]:
    """Returns the full names of the layers that get an adapter."""
    head = model.get_output_embeddings()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and name not in whole
    ]
    if config.target_modules is None:
        return layers
    chosen = []
    for target in config.target_modules:
        found = [name for name in layers if f".{name}".endswith(f".{target}")]
        if not found:
            known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in layers))
            raise InputError(
                f"{_KEY}.target_modules: must name linear layers of the model ({known}), received "
                f"{target!r}; choose some of these, or leave it out for all"
            )
        chosen += found
    return list(dict.fromkeys(chosen))


def _adapted(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
