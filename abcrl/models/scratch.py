"""Language models from scratch: a named size of any architecture, or a configuration file."""

import copy
import difflib
import re
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from abcrl.config import InputError, ModelConfig
from abcrl.config.paths import read_model_file
from abcrl.config.training import ModelSize

# What options cannot set, under transformers' common names, and what sets it.
_FROM_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
_FROM_SHAPE = {
    "hidden_size": "model.n_embd",
    "num_hidden_layers": "model.n_layer",
    "num_attention_heads": "model.n_head",
    "max_position_embeddings": "model.context_length",
}
_BASE_KEYS = frozenset(vars(PreTrainedConfig()))


def build_causal_lm(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> PreTrainedModel:
    """Returns a causal language model with random weights, as many rows as the tokenizer has ids.

    Args:
        config: A model from scratch.
        tokenizer: Has its pad token already, so that the embedding has a row for it.
        seed: Decides the weights, and nothing else does.

    Raises:
        InputError: The architecture, shape, options or file cannot be built; names the key.
    """
    return _build(
        config,
        seed,
        # Not the number of tokens: some vocabularies have gaps.
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def require_buildable(config: ModelConfig) -> None:
    """Refuses a model from scratch that would be refused once data and tokenizer are there.

    Raises:
        InputError: Names the key.
    """
    _build(config, 0, vocab_size=8, bos_token_id=0, eos_token_id=0, pad_token_id=0)


def _build(config: ModelConfig, seed: int, **vocabulary: int | None) -> PreTrainedModel:
    architecture = _architecture(config, **vocabulary)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(architecture)
            _require_causal(model)
    except Exception as error:  # two hundred architectures raise whatever they like
        raise _refusal(config, architecture.model_type, error) from None
    return model


def _architecture(config: ModelConfig, **vocabulary: int | None) -> PreTrainedConfig:
    """Returns the transformers configuration of a model from scratch."""
    model_type = _model_type(config)
    try:
        default: PreTrainedConfig = CONFIG_MAPPING[model_type]()
        values = _values(config, default)
        architecture: PreTrainedConfig = type(default)(**{**values, **vocabulary})
    except InputError:
        raise
    except Exception as error:  # as in _build
        raise _refusal(config, model_type, error) from None
    parts = architecture.get_text_config() is not architecture
    if parts or getattr(architecture, "quantization_config", None) is not None:
        key, received = _described(config, model_type)
        what = "has other parts than text" if parts else "is quantised"
        raise InputError(
            f"{key}: must be a plain language model, received {received}, which {what}; choose "
            f"another"
        )
    architecture.dtype = None  # float32, whatever the file says
    return architecture


def _model_type(config: ModelConfig) -> str:
    """Returns transformers' name of the architecture."""
    model_type: str = config.architecture
    if config.shape is None:
        model_type = read_model_file(config.base, "model.base")["model_type"]
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        key, received = _described(config, model_type)
        close = difflib.get_close_matches(model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, n=1)
        advice = f"did you mean {close[0]}?" if close else "choose e.g. gpt2 or llama"
        raise InputError(
            f"{key}: must be a transformers model type with a causal language model, received "
            f"{received}; {advice}"
        )
    return model_type


def _described(config: ModelConfig, model_type: str) -> tuple[str, str]:
    """Returns the key that the architecture is named by, and how to show what it says."""
    if config.shape is None:
        return "model.base", f"{model_type!r} in {config.base}"
    return "model.architecture", repr(model_type)


def _values(config: ModelConfig, default: PreTrainedConfig) -> dict[str, Any]:
    """Returns what the configuration says of an architecture, under the architecture's names."""
    if config.shape is None:
        values = read_model_file(config.base, "model.base")
        del values["model_type"]
    else:
        values = _sized(default, config.shape, config)
    options = _native(default, copy.deepcopy(config.options))  # transformers writes into some
    _require_known(config, default)
    return {**_native(default, values), **options}


def _sized(default: PreTrainedConfig, shape: ModelSize, config: ModelConfig) -> dict[str, Any]:
    """Returns the values that follow from the shape, under the names that the architecture has.

    Their defaults belong to models of billions of parameters.
    """
    dependent = {
        "intermediate_size": 4 * shape.hidden_size,
        "ffn_dim": 4 * shape.hidden_size,
        "word_embed_proj_dim": shape.hidden_size,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.hidden_size // shape.heads,
        "rotary_dim": shape.hidden_size // shape.heads,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attention_dropout": config.dropout,
        "hidden_dropout": config.dropout,
        "resid_dropout": config.dropout,
        "embed_dropout": config.dropout,
        "dropout": config.dropout,
    }
    return {
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": config.context_length,
        **{name: value for name, value in dependent.items() if name in vars(default)},
    }


def _native(default: PreTrainedConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values under the architecture's own names: gpt2 says n_embd for hidden_size."""
    return {default.attribute_map.get(name, name): value for name, value in values.items()}


def _require_known(config: ModelConfig, default: PreTrainedConfig) -> None:
    """Refuses options that the architecture does not know, or that something else decides."""
    fixed = dict.fromkeys(_FROM_TOKENIZER, "the tokenizer")
    if config.shape is not None:
        fixed |= _FROM_SHAPE
    fixed = _native(default, fixed)
    known = {name for name in vars(default) if name[0] != "_"} - _BASE_KEYS - fixed.keys()
    for name, value in config.options.items():
        [native] = _native(default, {name: value})
        if native in fixed:
            raise InputError(
                f"model.options.{name}: must be left out ({fixed[native]} decides it), received "
                f"{value!r}; remove it"
            )
        if native not in known:
            close = difflib.get_close_matches(native, known, n=1, cutoff=0.5)
            advice = f"did you mean {close[0]}?" if close else f"see {type(default).__name__}"
            raise InputError(
                f"model.options.{name}: unknown key of {default.model_type}, received {value!r}; "
                f"{advice}"
            )


@torch.no_grad()
def _require_causal(model: PreTrainedModel) -> None:
    """Runs the model once: what builds need not run, and a model such as bert sees the future.

    Raises:
        ValueError: Logits depend on later tokens.
    """
    ids = torch.zeros(2, 8, dtype=torch.long)
    ids[1, -1] = 1
    training = model.training
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    model.train(training)
    if not torch.allclose(logits[0, :-1], logits[1, :-1], atol=1e-5):
        raise ValueError("its logits depend on later tokens")


def _refusal(config: ModelConfig, model_type: str, error: Exception) -> InputError:
    """Returns the one line that names the key which is most likely to blame."""
    message = " ".join(str(error).split())
    reason = message.rpartition("Error: ")[2][:160]
    if isinstance(error, KeyError):
        reason = f"unknown {reason}"
    rule, advice = f"must suit {model_type}", "change or remove it"
    if config.options:
        field = re.search(r"field '(\w+)'", message)
        names = list(config.options)
        guilty = [name for name in names if len(names) == 1 or (field and field[1] == name)]
        key = ".".join(["model.options", *guilty])
        received = repr(config.options[guilty[0]] if guilty else config.options)
    elif config.shape is None:
        key, received = "model.base", config.base
        rule, advice = "must describe a causal language model that runs", "correct the file"
    elif (config.n_layer, config.n_head, config.n_embd) != (None, None, None):
        key, received = "model", "{}, {} and {}".format(*config.shape)
        rule = f"n_layer, n_embd and n_head must suit {model_type}"
        advice = "choose others"
    else:
        key, received = _described(config, model_type)
        rule = "must be a transformers model type with a causal language model"
        advice = "choose e.g. gpt2 or llama"
    return InputError(f"{key}: {rule}, received {received} ({reason}); {advice}")
