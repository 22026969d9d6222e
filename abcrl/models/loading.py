"""From folder or Hub id to a model in float32."""

import hashlib
import json
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from abcrl.config import InputError
from abcrl.config.paths import require_model_folder
from abcrl.hub import locate

from .quantization import nf4_options
from .text.tokenizers import add_pad_token, load_tokenizer

LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What a damaged checkpoint, or one that holds more than tensors, raises while it is read."""


def load_causal_lm(
    reference: str, key: str, *, quantization: str = "none"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns a causal language model in float32 and its tokenizer.

    Args:
        reference: Local folder or Hub id.
        key: Configuration key to name when it cannot be loaded.
        quantization: none | nf4, see `AdaptationConfig`.

    Raises:
        InputError: It cannot be loaded, has no embedding of EOS, or is a classifier (its trunk
            would pass for a language model where the head is tied to the embeddings).
    """
    options = nf4_options() if quantization == "nf4" else {}
    model, report = load_pretrained(AutoModelForCausalLM, reference, key, **options)
    if report["missing_keys"]:
        raise InputError(incomplete(key, reference, model, min(report["missing_keys"])))
    if "score.weight" in report["unexpected_keys"]:
        raise InputError(
            f"{key}: must be a language model, received {reference}, which is a classifier; give "
            f"the model that the reward model was trained from"
        )
    tokenizer = load_tokenizer(reference, key)
    if tokenizer.eos_token_id >= embedding_rows(model):
        raise InputError(
            f"{key}: the model must have an embedding of its tokenizer's EOS token, received "
            f"{reference} with {embedding_rows(model)} embeddings and EOS "
            f"{tokenizer.eos_token_id}; save it after "
            f"model.resize_token_embeddings(len(tokenizer))"
        )
    # A checkpoint's own top-p or repetition penalty would sample from another distribution than
    # the one whose log-probabilities are taken.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model, tokenizer


def new_classifier(  # noqa: PLR0913 - what a classifier is made of
    reference: str,
    tokenizer: PreTrainedTokenizerBase,
    key: str,
    *,
    seed: int,
    labels: Sequence[str] = ("negative", "positive"),
    init_std: float | None = None,
    quantization: str = "none",
) -> PreTrainedModel:
    """Returns a sequence classifier on a language model's trunk, its head drawn from `seed`.

    The tokenizer gets a pad token of its own if it has none: a classifier's own forward pass finds
    the last token by the pad id.

    Args:
        reference: Local folder or Hub id of the language model.
        tokenizer: Its tokenizer.
        key: Configuration key to name when it cannot be loaded.
        seed: Decides the head.
        labels: Their names, one output each; a single one's output is the score.
        init_std: Of the head's weights; None: 1 / sqrt(d + 1).
        quantization: Of the trunk: none | nf4, see `AdaptationConfig`.

    Raises:
        InputError: The language model cannot be loaded.
    """
    options = nf4_options("score") if quantization == "nf4" else {}
    with torch.random.fork_rng(devices=[]):  # transformers draws a head, which is not kept
        model, report = load_pretrained(
            AutoModelForSequenceClassification,
            reference,
            key,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            **options,
        )
    if "score.weight" not in report["missing_keys"]:
        raise InputError(
            f"{key}: must be a language model, received {reference}, which is a classifier; give "
            f"the SFT model that it was trained from"
        )
    missing = [name for name in sorted(report["missing_keys"]) if not name.startswith("score.")]
    if missing:
        raise InputError(incomplete(key, reference, model, missing[0]))
    # A head of std 1 / sqrt(d + 1), as Stiennon et al. 2020, arXiv 2009.01325. transformers' 0.02
    # is so small that the trunk hears little of the labels at first.
    head = model.get_parameter("score.weight")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        noise = torch.randn(head.shape, generator=generator)
        head.copy_(noise / (head.shape[1] + 1) ** 0.5 if init_std is None else noise * init_std)
    give_pad_token(model, tokenizer)
    return model


def give_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Sees to it that model and tokenizer have a pad token that is not EOS.

    Embeddings only ever grow: many checkpoints have more rows than their tokenizer has tokens. A
    row that is new is always the same one; the global generator is neither read nor moved.

    Args:
        model: Its embedding, and its output head if it is a language model, may grow.
        tokenizer: Its tokenizer; one that got its pad token with another copy of the model will do.
    """
    add_pad_token(tokenizer)
    if len(tokenizer) > embedding_rows(model):
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # transformers draws about the mean row
            torch.manual_seed(0)
            model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    generation_config = getattr(model, "generation_config", None)  # a classifier has none
    if generation_config is not None:
        generation_config.pad_token_id = tokenizer.pad_token_id


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a hash of what the ids of a text follow from, chat template and all.

    Of a tokenizer that is none of the library tokenizers' its vocabulary stands for its rules. No
    version of a library is in it.
    """
    rules = tokenizer.get_vocab()
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
    roles = {role: str(token) for role, token in tokenizer.special_tokens_map.items()}
    content = json.dumps([rules, roles, tokenizer.chat_template], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def embedding_rows(model: PreTrainedModel) -> int:
    """Returns how many ids the model can read."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def disable_dropout(model: nn.Module) -> None:
    """Sets every dropout probability to 0, so that train and eval mode agree."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Many architectures keep a probability as a number, for nn.functional.dropout.
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name == "layerdrop"):
                setattr(module, name, 0.0)


def load_pretrained(
    kind: Any,  # noqa: ANN401 - one of transformers' Auto classes
    reference: str,
    key: str,
    **options: Any,  # noqa: ANN401
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Returns a model in float32, and which weights were missing or left over.

    Raises:
        InputError: It cannot be loaded.
    """
    require_model_folder(reference, key)
    place = locate(reference, key)
    try:
        model, report = kind.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
    except LOADING_ERRORS as error:
        raise InputError(
            f"{key}: must be loadable by transformers, received {reference} ({first_line(error)}); "
            f"give a local folder, or a Hub id with network"
        ) from None
    return model, report


def first_line(error: Exception) -> str:
    """Returns what an error of another library says, short enough for one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def incomplete(key: str, reference: str, model: PreTrainedModel, weight: str) -> str:
    """Returns the refusal of a checkpoint that lacks a weight."""
    return (
        f"{key}: the checkpoint must hold every weight of {type(model).__name__}, received "
        f"{reference} without {weight}; give a model of that kind"
    )
