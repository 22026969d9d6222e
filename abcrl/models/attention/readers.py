"""Three ways of reading one attention module while it works, none of which changes its output.

What a module offers decides, see `reader_of`:

- `read_interface`: it calls transformers' attention interface with a fast kernel. It is given a
  copy of its configuration that names a function of ours, which calls the kernel and beside it
  computes the rows. gpt2, llama, mistral, qwen, gpt_neox, opt, phi, gemma and most others.
- `read_kernel`: it calls torch's scaled_dot_product_attention itself. That call is watched. falcon.
- `read_weights`: it computes [T, T] weights and returns them anyway. They are read by a hook. gptj,
  bloom, gemma2, and every model that was loaded with eager attention.

Each is a context that undoes what it did, also after an exception; several may be nested.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .layers import WHAT_TO_DO, CaptureError, attention_config, cannot_capture
from .rows import Capture

_NAME = "abcrl_capture"
_WATCH = "_abcrl_watch"
# What an attention function may be told that changes its weights and is not reproduced here.
_UNSUPPORTED = ("s_aux", "position_bias")

Reader = Callable[[nn.Module, Capture], AbstractContextManager[None]]


def reader_of(model: nn.Module, module: nn.Module) -> Reader:
    """Returns the way in which this module's attention can be read.

    Raises:
        CaptureError: There is none.
    """
    implementation = attention_config(model, module)._attn_implementation
    if implementation == "eager":
        return read_weights
    # Told from the code, because an implementation's name says nothing to a module that branches
    # on it instead of looking it up (falcon would silently go eager, with a mask made for sdpa).
    forward: Any = inspect.unwrap(type(module).forward)
    if "ALL_ATTENTION_FUNCTIONS" in forward.__globals__:
        return read_interface
    if implementation == "sdpa":
        return read_kernel
    raise cannot_capture(model, "neither uses the attention interface nor returns its weights")


class _Watch(NamedTuple):
    """What a module on the attention interface remembers while it is read."""

    implementation: str
    captures: tuple[Capture, ...]


@contextmanager
def read_interface(module: nn.Module, capture: Capture) -> Iterator[None]:
    """Reads queries and keys in the attention function; nothing of size [T, T] for one row."""
    outer: _Watch | None = getattr(module, _WATCH, None)
    config: Any = module.config
    if outer is None:
        renamed = copy.copy(config)
        # The public setter would also rewrite the sub-configurations, which the copy shares.
        renamed._attn_implementation_internal = _NAME
        module.config = renamed
        watch = _Watch(config._attn_implementation, (capture,))
    else:
        watch = _Watch(outer.implementation, (*outer.captures, capture))
    setattr(module, _WATCH, watch)
    try:
        yield
    finally:
        module.config = config
        if outer is None:
            delattr(module, _WATCH)
        else:
            setattr(module, _WATCH, outer)


def _attend_and_capture(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,  # noqa: ANN401 - whatever a model passes to its attention function
) -> tuple[Tensor, Tensor | None]:
    """The attention function that the touched module calls: the model's own one, and the capture.

    Queries are [B, H, T, D], keys and values [B, G, T, D].
    """
    watch: _Watch = getattr(module, _WATCH)
    unsupported = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if attention_mask is not None and not isinstance(attention_mask, Tensor):
        unsupported.append(type(attention_mask).__name__)
    if unsupported:
        raise CaptureError(
            f"reward.mode: needs attention that is a softmax of masked products, received "
            f"{watch.implementation!r} attention with {unsupported[0]}; {WHAT_TO_DO}"
        )
    for capture in watch.captures:
        capture.read_projections(
            query,
            key,
            attention_mask,
            scaling=kwargs.get("scaling"),
            window=kwargs.get("sliding_window"),
            softcap=kwargs.get("softcap"),
        )
    function = ALL_ATTENTION_FUNCTIONS[watch.implementation]
    output: tuple[Tensor, Tensor | None] = function(
        module, query, key, value, attention_mask, **kwargs
    )
    return output


AttentionInterface.register(_NAME, _attend_and_capture)


@contextmanager
def read_kernel(module: nn.Module, capture: Capture) -> Iterator[None]:
    """Reads queries and keys in the module's call of torch's kernel; nothing of size [T, T].

    The kernel's mask holds everything that is added to the logits, falcon's alibi too. (In eager
    attention transformers 5.23 adds that alibi twice, so its weights are not those of the kernel.)
    """
    own, known = module.forward, vars(module).get("forward")
    # Only for the length of the module's own forward, so no other layer is watched or slowed.
    module.forward = functools.partial(_forward_watched, own, capture)
    try:
        yield
    finally:
        if known is None:
            del module.forward
        else:
            module.forward = known


def _forward_watched(
    own: Callable[..., object], capture: Capture, *args: object, **kwargs: object
) -> object:
    with _KernelCalls(capture):
        return own(*args, **kwargs)


class _KernelCalls(TorchFunctionMode):
    """Shows a capture what scaled_dot_product_attention is called with."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            self._read(*args, **kwargs)
        return func(*args, **kwargs)

    def _read(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,  # noqa: ARG002 - the kernel's signature
        attn_mask: Tensor | None = None,
        *_: object,
        scale: float | None = None,
        **__: object,
    ) -> None:
        if attn_mask is not None:  # any shape that broadcasts; [T, T] must not look like padding
            attn_mask = attn_mask.expand(query.shape[0], -1, -1, -1)
        self._capture.read_projections(query, key, attn_mask, scaling=scale)


@contextmanager
def read_weights(module: nn.Module, capture: Capture) -> Iterator[None]:
    """Reads the weights that the module returns; it has computed [B, H, T, T] for itself.

    In train mode they are what is left after attention dropout.
    """

    def read(_: nn.Module, __: object, output: object) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if isinstance(weights, Tensor) and weights.ndim == 4:
            capture.read_weights(weights)

    handle = module.register_forward_hook(read)
    try:
        yield
    finally:
        handle.remove()
