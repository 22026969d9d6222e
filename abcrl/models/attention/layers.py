"""Which of a model's modules is asked for its attention, and the refusal where none can be."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from abcrl.config import InputError

WHAT_TO_DO = "choose another model, or reward mode rlhf or uniform"


class CaptureError(InputError):
    """Attention cannot be captured from this model, or not this part of it."""


def attention_module(model: nn.Module, layer: int) -> nn.Module:
    """Returns the self-attention module of one layer.

    Args:
        model: A decoder; wrapped by PEFT or not.
        layer: Its index among the layers that have attention; negative counts from the end.

    Raises:
        CaptureError: The model has no such layer, or is no decoder with one attention per layer.
    """
    # Every decoder of transformers numbers its attention modules, because caches need it.
    found: dict[int, list[Any]] = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if type(module).__name__.endswith("Attention") and isinstance(index, int):
            found.setdefault(index, []).append(module)
    modules = [found[index] for index in sorted(found)]
    if not modules:
        raise cannot_capture(model, "has no attention modules that are numbered by layer")
    if not -len(modules) <= layer < len(modules):
        raise CaptureError(
            f"reward.layer: must be from {-len(modules)} to {len(modules) - 1}, the layers of this "
            f"{model_type(model)} model that have attention, received {layer}; choose one of these"
        )
    module, *others = modules[layer]
    if others or getattr(module, "is_causal", True) is False:
        raise cannot_capture(model, "is no decoder with one causal attention per layer")
    chosen: nn.Module = module
    return chosen


def check_heads(
    model: nn.Module, module: nn.Module, heads: Sequence[int] | None
) -> tuple[int, ...] | None:
    """Returns the heads as they are kept.

    Raises:
        CaptureError: They are none, named twice, or not all heads of that module.
    """
    if heads is None:
        return None
    chosen = tuple(heads)
    count = attention_config(model, module).num_attention_heads
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(count)):
        raise CaptureError(
            f"reward.heads: must be different heads from 0 to {count - 1}, received "
            f"{list(chosen)}; choose some of these, or leave it out for the mean over all"
        )
    return chosen


def attention_config(model: nn.Module, module: nn.Module) -> Any:  # noqa: ANN401
    """Returns the configuration that an attention module obeys: its own, else the model's."""
    return getattr(module, "config", None) or model.config


def model_type(model: nn.Module) -> str:
    """Returns the architecture's name as the user knows it."""
    config: Any = model.config
    return str(config.model_type)


def cannot_capture(model: nn.Module, why: str) -> CaptureError:
    """Returns the refusal of an architecture, by name."""
    config: Any = model.config
    return CaptureError(
        f"reward.mode: needs a model whose attention can be captured (gpt2, llama, ...), received "
        f"model type {model_type(model)!r} with attention {config._attn_implementation!r}, which "
        f"{why}; {WHAT_TO_DO}"
    )
