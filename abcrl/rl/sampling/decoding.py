"""How transformers' generate decodes: the cache that it fills, and whether it is compiled."""

import inspect
from typing import Any
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor
from transformers import (
    CompileConfig,
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    StaticCache,
)
from transformers.cache_utils import DynamicLayer

from abcrl.config import InputError, ResponseConfig

# Lengths of static caches are rounded up to a multiple of it: prompts of other widths then mostly
# find the same shapes, which is what compiled code is made for.
_ROUNDED_TO = 64

_caches: WeakKeyDictionary[PreTrainedModel, dict[tuple[int, int], StaticCache]] = (
    WeakKeyDictionary()
)


def decoding_options(
    model: PreTrainedModel,
    config: ResponseConfig,
    *,
    rows: int,
    prompt_width: int,
    new_tokens: int,
    eos_token_id: int,
) -> dict[str, Any]:
    """Returns what generate is given beside prompts, processors and criteria.

    Args:
        model: Causal language model.
        config: cache and compile.
        rows: B, sequences decoded at once.
        prompt_width: P.
        new_tokens: Tokens of the longest response at most.
        eos_token_id: The token that ends a response.

    Raises:
        InputError: The model cannot fill a static cache.
    """
    options: dict[str, Any] = {
        "generation_config": GenerationConfig(
            max_new_tokens=new_tokens,
            do_sample=False,
            use_cache=True,  # a model's own configuration may say otherwise, for training
            eos_token_id=eos_token_id,
            pad_token_id=eos_token_id,
            disable_compile=not config.compile,
            compile_config=_compilation() if config.compile else None,
        )
    }
    if _fills_a_cache(model):
        options["past_key_values"] = (
            _static_cache(model, rows, prompt_width + config.cap_high)
            if config.cache == "static"
            else _dynamic_cache(model, prompt_width + new_tokens)
        )
    elif config.cache == "static":
        raise InputError(
            f"response.cache: must be dynamic for model type {model.config.model_type!r}, which "
            f"fills no cache, received static; remove it"
        )
    return options


def _fills_a_cache(model: PreTrainedModel) -> bool:
    supports: Any = model._supports_default_dynamic_cache  # nn.Module's __getattr__ hides its type
    return supports() and "past_key_values" in inspect.signature(model.forward).parameters


def _dynamic_cache(model: PreTrainedModel, positions: int) -> DynamicCache:
    """Returns the cache that generate would make, whose layers do not copy themselves to grow."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    # Layers of other kinds (sliding windows, states) keep what little they need.
    cache.layers = [
        _BufferedLayer(positions) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache


class _BufferedLayer(DynamicLayer):
    """Keys and values at the beginning of a buffer that has room for all there will be.

    transformers' own layer copies all keys and values for every token: at 160 tokens a sixth of the
    time of a small model's decoding, and more with every token.
    """

    def __init__(self, positions: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._positions = positions

    def update(
        self,
        key_states: Float[Tensor, "B H t d"],
        value_states: Float[Tensor, "B H t d_v"],
        *args: object,  # noqa: ARG002 - part of the interface
        **kwargs: object,  # noqa: ARG002 - part of the interface
    ) -> tuple[Float[Tensor, "B H T d"], Float[Tensor, "B H T d_v"]]:
        """Takes the keys and values of new positions; returns those of all so far."""
        new = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self._buffers = [
                states.new_empty(*states.shape[:2], self._positions, states.shape[-1])
                for states in new
            ]
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        for buffer, states in zip(self._buffers, new, strict=True):
            buffer[:, :, begin:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values


def _static_cache(model: PreTrainedModel, rows: int, positions: int) -> StaticCache:
    """Returns an empty cache, the same one for the same shape: CUDA graphs hold its addresses."""
    if model not in _caches:
        _caches.clear()  # those of another model, which are large
    length = -(-positions // _ROUNDED_TO) * _ROUNDED_TO
    of_model = _caches.setdefault(model, {})
    cache = of_model.get((rows, length))
    if cache is None:
        cache = of_model[rows, length] = StaticCache(config=model.config, max_cache_len=length)
    else:
        cache.reset()
    return cache


def _compilation() -> CompileConfig:
    config = CompileConfig(fullgraph=False, dynamic=False)
    # Compiled where it was asked for, and not on accelerators alone.
    config._compile_all_devices = True  # type: ignore[assignment]  # declared None
    return config
