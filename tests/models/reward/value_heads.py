"""Reward models of the original style, as other frameworks save them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

WIDTH = 32  # of conftest's models
FORMATS = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def heads() -> dict[str, dict[str, Tensor]]:
    """Each layout of a v_head."""
    return {
        "linear": {"v_head.weight": draw(1, WIDTH)},
        "linear with bias": {"v_head.weight": draw(1, WIDTH), "v_head.bias": draw(1, seed=1)},
        "trl": {"v_head.summary.weight": draw(1, WIDTH), "v_head.summary.bias": draw(1, seed=1)},
        "trlx": {
            "v_head.0.weight": draw(2 * WIDTH, WIDTH),
            "v_head.0.bias": draw(2 * WIDTH, seed=1),
            "v_head.2.weight": draw(1, 2 * WIDTH, seed=2),
            "v_head.2.bias": draw(1, seed=3),
        },
    }


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns a language model's weights under its own names, tied ones once."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: dict[str, Tensor],
    *,
    form: str = "model.safetensors",
) -> str:
    """Writes a model folder with these weights, in one of `FORMATS`; returns its path."""
    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not form.endswith(".json"):
        save_weights(folder / form, weights)
        return str(folder)
    stem, _, suffix = form.removesuffix(".index.json").rpartition(".")
    names = sorted(weights)
    shards = {f"{stem}-0000{number}-of-00002.{suffix}": names[number - 1 :: 2] for number in (1, 2)}
    for shard, members in shards.items():
        save_weights(folder / shard, {name: weights[name] for name in members})
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (folder / form).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return str(folder)


def save_weights(file: Path, weights: dict[str, Tensor], **options: Any) -> None:
    if file.suffix == ".safetensors":
        save_file(weights, file, metadata={"format": "pt"})
    else:
        torch.save(weights, file, **options)
