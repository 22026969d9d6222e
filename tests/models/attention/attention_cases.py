"""What the tests of the capture share: the architectures, ragged batches, and eager attention."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from abcrl.models import position_ids

BuildModel = Callable[..., PreTrainedModel]
WIDTH = 11


class Case(NamedTuple):
    """An architecture with options, and by which of the ways its attention is read."""

    architecture: str
    options: dict[str, Any]
    reader: str

    def build(self, kind: BuildModel, **options: Any) -> Any:
        return kind(self.architecture, **self.options, **options)


_SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}

# conftest gives llama, mistral, qwen2 and qwen3 two key-value heads for four, gemma one; mistral's
# window is 4. Soft-capping at 2 squeezes most logits; gemma2's last layer is one with a window.
CASES = {
    **{
        name: Case(name, {}, "read_interface")
        for name in ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "opt", "phi")
    },
    "gpt2 by layer": Case("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "read_interface"),
    "qwen2 sliding": Case("qwen2", _SLIDING, "read_interface"),
    "gemma": Case("gemma", {}, "read_interface"),
    "falcon": Case("falcon", {}, "read_kernel"),
    "falcon alibi": Case("falcon", {"alibi": True}, "read_kernel"),
    "falcon heads": Case("falcon", {"multi_query": False}, "read_kernel"),
    "falcon new": Case(
        "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}, "read_kernel"
    ),
    "gptj": Case("gptj", {}, "read_weights"),
    "bloom": Case("bloom", {}, "read_weights"),
    "gemma2": Case("gemma2", {"attn_logit_softcapping": 2.0, "sliding_window": 4}, "read_weights"),
    "gpt2 eager": Case("gpt2", {"attn_implementation": "eager"}, "read_weights"),
}
# One for each way of reading.
READERS = ["llama", "falcon", "gptj"]


def ragged_batch(padding: str) -> tuple[Tensor, Tensor]:
    """Returns ids (random in the padding too) and a mask: rows of 11, 8, 4 and 1 tokens."""
    ids = torch.randint(2, 64, (4, WIDTH), generator=torch.Generator().manual_seed(3))
    column, lengths = torch.arange(WIDTH), torch.tensor([[11], [8], [4], [1]])
    return ids, column < lengths if padding == "right" else column >= WIDTH - lengths


def run(model: nn.Module, ids: Tensor, mask: Tensor, **options: Any) -> Any:
    with torch.no_grad():
        return model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=position_ids(mask),
            use_cache=False,
            **options,
        )


def eager_copy(model: nn.Module) -> Any:
    """Returns a copy of the model on eager attention that computes the same function.

    Not through the public setter, which does nothing to falcon. Eager falcon adds its alibi to a
    mask that holds it already; the copy adds it once, as the kernel does.
    """
    eager: Any = copy.deepcopy(model)
    for module in eager.modules():
        if "config" in vars(module):
            module.config._attn_implementation_internal = "eager"
        if type(module).__name__ == "FalconAttention" and eager.config.alibi:
            module.register_forward_pre_hook(
                lambda _, args, kwargs: (args, {**kwargs, "alibi": kwargs["alibi"] * 0}),
                with_kwargs=True,
            )
    return eager


def eager_maps(model: nn.Module, ids: Tensor, mask: Tensor, layer: int = -1) -> Tensor:
    """Returns a layer's whole attention map per head, [B, H, T, T], float32."""
    maps: Tensor = run(eager_copy(model), ids, mask, output_attentions=True).attentions[layer]
    return maps.float()


def eager_attention(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Returns the last layer's whole attention map, mean over heads, [B, T, T]."""
    return eager_maps(model, ids, mask).mean(1)


def rows_of(attention: Tensor, rows: Tensor) -> Tensor:
    return attention.gather(1, rows[..., None].expand(-1, -1, attention.shape[-1]))


def state_of(model: nn.Module) -> dict[str, tuple[object, ...]]:
    """Returns what a capture could leave behind in each module, by identity where it has one."""
    return {
        name: (
            id(vars(module).get("config")),
            getattr(vars(module).get("config"), "_attn_implementation", None),
            id(vars(module).get("forward")),
            module.training,
            frozenset(vars(module)),
            *(
                tuple(hooks)
                for attribute, hooks in sorted(vars(module).items())
                if attribute.endswith("_hooks") and isinstance(hooks, dict)
            ),
        )
        for name, module in model.named_modules()
    }
