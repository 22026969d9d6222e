"""The capture compared with eager attention once, on the first batch of a run.

A capture that reads one row too late, forgets a mask or repeats the wrong heads still gives
plausible credit. The architectures that are tested are known to be right; this asks the model that
is really used, with its own configuration, kernel and number format.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from abcrl.models.positions import position_ids

from .capture import capture_attention
from .layers import (
    WHAT_TO_DO,
    CaptureError,
    attention_config,
    attention_module,
    cannot_capture,
    model_type,
)

_Args = tuple[Any, ...]
_Kwargs = dict[str, Any]

# Share of a row's attention that may lie on other columns. Measured in 24 layers at the scale of
# their initialisation: 2e-8 in float32, 7e-4 in bfloat16; with weights so large that attention is
# nearly one-hot, 2e-7 and 0.02. The wrong row, mask or heads: 0.01 to 1. TF32 is allowed for.
_TOLERANCE = {torch.float64: 5e-3, torch.float32: 5e-3, torch.float16: 0.02}
_COARSE_TOLERANCE = 0.05
# The layer's output, relative to its size, has the rounding of values and projection in it too.
_OUTPUT_FACTOR = 2
# Eager attention keeps [B, H, T, T] of every layer: 64 MiB for 32 layers of 32 heads in bfloat16.
_ROWS = 2
_LENGTH = 128


@torch.no_grad()
def verify_capture(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"],
    query_positions: Int[Tensor, "B Q"],
    *,
    layer: int = -1,
    heads: Sequence[int] | None = None,
) -> float:
    """Compares the captured rows of one layer with those of the same model run eagerly.

    Two passes over the first two rows, cut to the 128 tokens before the last query position. In the
    eager one the layer gets what it got in the first: rounding that has grown through the layers
    before is no fault of the capture, and in a deep bfloat16 model would hide one. The layer's
    output is compared too, so that the rows are known to be those that the model works with.

    The model should be in eval mode; it is left as it was found, also after an exception.

    Args:
        model: As for `capture_attention`; its backbone is run.
        input_ids: A batch like those of the run.
        attention_mask: True where a token is real.
        query_positions: As in the run; those of padding are not compared.
        layer: As in the run.
        heads: As in the run.

    Returns:
        The largest share of a row's attention that differs.

    Raises:
        CaptureError: They differ by more than the model's number format explains, or one of the
            two cannot be had.
    """
    module = attention_module(model, layer)
    ids, mask, rows = _small_batch(input_ids, attention_mask, query_positions)
    options = {
        "input_ids": ids,
        "attention_mask": mask.long(),
        "position_ids": position_ids(mask),
        "use_cache": False,
    }
    backbone = _backbone(model)
    with _same_input(module) as outputs:
        with capture_attention(model, rows, layer=layer, heads=heads) as capture:
            backbone(**options)
        with _eager(model, module), _as_found(model):
            maps = backbone(**options, output_attentions=True).attentions
    if not maps:
        raise cannot_capture(model, "returns no attention in eager mode to compare with")
    weights = maps[layer] if heads is None else maps[layer][:, list(heads)]
    real = mask.gather(1, rows)
    expected = _rows_of(weights.float().mean(1), rows)
    moved = (capture.result() - expected).abs().sum(-1)[real].amax().item() / 2
    own, eager = (_rows_of(output.float(), rows)[real] for output in outputs)
    # A layer that puts out nothing at all agrees with itself.
    apart = ((own - eager).norm(dim=-1) / own.norm(dim=-1).clamp(min=1e-20)).amax().item()
    tolerance = _TOLERANCE.get(weights.dtype, _COARSE_TOLERANCE)
    # Written so that a NaN is no agreement.
    if not (moved <= tolerance and apart <= _OUTPUT_FACTOR * tolerance):
        raise CaptureError(
            f"reward.mode: captured attention must agree with eager attention within {tolerance} "
            f"(output {_OUTPUT_FACTOR * tolerance}), received {moved:.2g} ({apart:.2g}) in layer "
            f"{layer} of model type {model_type(model)!r} with attention "
            f"{attention_config(model, module)._attn_implementation!r} in {weights.dtype}; "
            f"{WHAT_TO_DO}"
        )
    return float(moved)


@contextmanager
def _same_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """Hands a module in each pass what it got in the first; yields its outputs [B, T, d]."""
    first: list[Tensor] = []
    outputs: list[Tensor] = []

    def before(_: nn.Module, args: _Args, kwargs: _Kwargs) -> tuple[_Args, _Kwargs]:
        first.append(args[0] if args else kwargs["hidden_states"])
        if args:
            return (first[0], *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": first[0]}

    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(lambda _, __, output: outputs.append(output[0])),
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _rows_of(values: Float[Tensor, "B T K"], rows: Int[Tensor, "B Q"]) -> Float[Tensor, "B Q K"]:
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[-1]))


def _small_batch(
    input_ids: Int[Tensor, "B T"],
    attention_mask: Bool[Tensor, "B T"],
    query_positions: Int[Tensor, "B Q"],
) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"], Int[Tensor, "b Q"]]:
    """Returns few rows; where they are long, the tokens up to each row's last query position."""
    ids, mask = input_ids[:_ROWS], attention_mask[:_ROWS]
    rows = query_positions[:_ROWS].to(ids.device)
    if ids.shape[1] <= _LENGTH:
        return ids, mask, rows
    real = mask.gather(1, rows)
    first = (rows * real).amax(1, keepdim=True) - _LENGTH + 1
    column = first + torch.arange(_LENGTH, device=ids.device)
    inside = column.clamp(min=0)
    return (
        ids.gather(1, inside),
        mask.gather(1, inside) & (column >= 0),
        (rows - first).clamp(0, _LENGTH - 1),
    )


def _backbone(model: nn.Module) -> nn.Module:
    """Returns what turns ids into hidden states: no classifier looks for padding ids then."""
    unwrap: Any = getattr(model, "get_base_model", lambda: model)  # PEFT has one
    backbone: nn.Module = unwrap().base_model
    return backbone


@contextmanager
def _eager(model: nn.Module, chosen: nn.Module) -> Iterator[None]:
    """Runs the whole model on eager attention, by copies of its configurations.

    The public setter does nothing where a model branches on the name itself (falcon), and would
    have to be undone through every sub-configuration.
    """
    own = [
        (module, module.config)
        for module in model.modules()
        if isinstance(vars(module).get("config"), PreTrainedConfig)
    ]
    eager: dict[int, Any] = {id(config): copy.copy(config) for _, config in own}
    for config in eager.values():
        config._attn_implementation_internal = "eager"
    with ExitStack() as undo:
        if attention_config(model, chosen)._attn_implementation == "sdpa":
            for module in model.modules():
                if type(module).__name__ == "FalconAttention":
                    hook = module.register_forward_pre_hook(_without_alibi, with_kwargs=True)
                    undo.callback(hook.remove)
        try:
            for module, config in own:
                module.config = eager[id(config)]
            yield
        finally:
            for module, config in own:
                module.config = config


def _without_alibi(_: nn.Module, args: _Args, kwargs: _Kwargs) -> tuple[_Args, _Kwargs]:
    """Undoes a fault of transformers 5.23: eager falcon adds its alibi to a mask that holds it."""
    alibi = kwargs.get("alibi")
    return args, kwargs if alibi is None else {**kwargs, "alibi": torch.zeros_like(alibi)}


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Removes what transformers leaves behind when it is first asked for attentions: recorders."""
    found = [(module, set(vars(module)), set(module._forward_hooks)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes, hooks in found:
            for name in set(vars(module)) - attributes:
                delattr(module, name)
            for key in set(module._forward_hooks) - hooks:
                del module._forward_hooks[key]
