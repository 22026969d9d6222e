"""How transformers' generate decodes: the cache that it fills, and whether it is compiled."""

from typing import Any
from weakref import WeakKeyDictionary

from transformers import CompileConfig, GenerationConfig, PreTrainedModel, StaticCache

from abcrl.config import ResponseConfig

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
    """
    options: dict[str, Any] = {
        "generation_config": GenerationConfig(
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=eos_token_id,
            pad_token_id=eos_token_id,
            disable_compile=not config.compile,
            compile_config=_compilation() if config.compile else None,
        )
    }
    if config.cache == "static":
        options["past_key_values"] = _static_cache(model, rows, prompt_width + config.cap_high)
    return options


def _static_cache(model: PreTrainedModel, rows: int, positions: int) -> StaticCache:
    """Returns an empty cache, the same one for the same shape: CUDA graphs hold its addresses."""
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
