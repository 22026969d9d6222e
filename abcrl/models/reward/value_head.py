"""Reward models of the original style: a language model's backbone with a separate `v_head`.

As Stiennon et al. 2020 (arXiv 2009.01325), trlx, DeepSpeed-Chat and the paper's code store them:
`transformer.*`, `model.*` or another prefix, and `v_head.*`. The head's layouts:

    v_head.weight, v_head.bias                       a linear head, with or without a bias
    v_head.summary.weight, v_head.summary.bias       a linear head, TRL's name for it
    v_head.0.weight, ..., v_head.2.weight, ...       an MLP, its linear layers by their numbers in a
                                                     Sequential; what has no weights stands between

Between the layers of an MLP stands ReLU, as in trlx, unless config.json names another activation as
`v_head_activation`: weights do not tell. Dropout, which may stand there too, is off.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.utils.hub import get_checkpoint_shard_files

_HEAD = re.compile(r"(?:^|\.)v_head\.")
# Masks and rotary tables that older versions of transformers saved with the weights.
_OLD_BUFFERS = re.compile(
    r"(^|\.)(\w*(attn|attention)\.(masked_)?bias|embed_positions|position_ids|inv_freq)$"
)
# A language model's own head in gpt_neox's files, whose class has another name for it.
_OTHER_HEAD = "embed_out"


def load_value_head_model(place: str, weights_file: Path) -> PreTrainedModel:
    """Returns the backbone in float32, with the head as its submodule `v_head`.

    The language model's own head, where the checkpoint has it, is left out.

    Args:
        place: Folder or Hub id that holds config.json.
        weights_file: Its weights or their index; see `abcrl.config.weights`.

    Raises:
        ValueError: Weights are missing, or cannot be interpreted; it names the first.
    """
    weights = _read_weights(place, weights_file)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    with torch.device("meta"):  # names and shapes only
        language_model: Any = AutoModelForCausalLM.from_config(config)
    skeleton: PreTrainedModel = language_model.base_model
    own_head = language_model.get_output_embeddings()
    head = build_value_head(
        _take_head(weights),
        width=own_head.weight.shape[1],
        activation=getattr(config, "v_head_activation", "relu"),
    )

    prefix = _prefix_of(weights, skeleton)
    loaded: Any = type(skeleton).from_pretrained(
        None,
        config=skeleton.config,
        state_dict={name.removeprefix(prefix): tensor for name, tensor in weights.items()},
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        output_loading_info=True,
    )
    model: PreTrainedModel = loaded[0]
    _require_complete(loaded[1], _name_of(language_model, own_head))
    # A submodule, so that it moves with the backbone from device to device.
    model.add_module("v_head", head)
    return model


def build_value_head(weights: Mapping[str, Tensor], width: int, activation: str) -> nn.Module:
    """Returns the head in float32.

    Args:
        weights: Tensors by their name behind `v_head.`, of one of the layouts above.
        width: Size of the backbone's hidden states.
        activation: Between the layers of an MLP, by transformers' name.

    Raises:
        ValueError: It cannot be interpreted.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = tensor.float()
    if set(layers) not in ({""}, {"summary"}) and not all(name.isdecimal() for name in layers):
        raise ValueError(f"its v_head has an unknown layout: {', '.join(sorted(weights))}")
    if activation not in ACT2FN:
        raise ValueError(f"v_head_activation {activation!r} is unknown to transformers")
    order = sorted(layers, key=lambda name: int(name) if name.isdecimal() else 0)
    modules = [_linear(name, layers[name]) for name in order]
    sizes = [width, *(module.out_features for module in modules)]
    if sizes[-1] != 1 or sizes[:-1] != [module.in_features for module in modules]:
        shapes = ", ".join(f"{name} {list(weights[name].shape)}" for name in sorted(weights))
        raise ValueError(f"its v_head does not lead from {width} numbers to one: {shapes}")
    between = [ACT2FN[activation] for _ in modules[1:]]
    steps = [step for pair in zip(modules[1:], between, strict=True) for step in reversed(pair)]
    return nn.Sequential(modules[0], *steps) if steps else modules[0]


def _linear(name: str, leaves: Mapping[str, Tensor]) -> nn.Linear:
    weight, bias = leaves.get("weight"), leaves.get("bias")
    if (
        not set(leaves) <= {"weight", "bias"}
        or weight is None
        or weight.ndim != 2
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        shown = ", ".join(f"{leaf} {list(tensor.shape)}" for leaf, tensor in leaves.items())
        raise ValueError(f"its v_head has a layer that is not linear: {name} {shown}")
    # On meta first: nn.Linear would draw its weights from the global generator.
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.load_state_dict(dict(leaves), assign=True)
    return layer


def _read_weights(place: str, file: Path) -> dict[str, Tensor]:
    files = [file]
    if file.suffix == ".json":
        files = [Path(shard) for shard in get_checkpoint_shard_files(place, str(file))[0]]
    weights: dict[str, Any] = {}
    for one in files:
        if one.suffix == ".safetensors":
            weights |= load_file(one)
        else:
            # Only tensors are unpickled: a checkpoint from elsewhere runs no code here.
            mapped = zipfile.is_zipfile(one)
            weights |= torch.load(one, map_location="cpu", weights_only=True, mmap=mapped)
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is no tensor")  # noqa: TRY004 - the file is wrong
    return weights


def _take_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes the head's weights and returns them by their name behind `v_head.`."""
    found = {name: match.end() for name in weights if (match := _HEAD.search(name))}
    return {name[end:]: weights.pop(name) for name, end in found.items()}


def _prefix_of(weights: Mapping[str, Tensor], skeleton: PreTrainedModel) -> str:
    """Returns what stands before the backbone's names: each framework wraps it in its own way."""
    name = _name_of(skeleton, skeleton.get_input_embeddings()) + ".weight"
    found = [one for one in weights if f".{one}".endswith(f".{name}")]
    return str(min(found, key=len)).removesuffix(name) if found else ""


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    name: str = next(name for name, module in model.named_modules() if module is wanted)
    return name


def _require_complete(report: Mapping[str, Any], language_model_head: str) -> None:
    if report["missing_keys"]:
        raise ValueError(f"the weight {min(report['missing_keys'])} is missing")
    if report["mismatched_keys"]:
        name, shape, wanted = min(report["mismatched_keys"])
        raise ValueError(f"the weight {name} has shape {list(shape)} instead of {list(wanted)}")
    left_out = re.compile(rf"(^|\.)({re.escape(language_model_head)}|{_OTHER_HEAD})\.")
    unexpected = [
        name
        for name in sorted(report["unexpected_keys"])
        if not left_out.search(name) and not _OLD_BUFFERS.search(name)
    ]
    if unexpected:
        raise ValueError(f"the weight {unexpected[0]} belongs to nothing")
