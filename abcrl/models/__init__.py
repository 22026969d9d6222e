"""The only room that loads transformers models and tokenizers.

Policy with value head, reward model, and the capture of attention rows from both.
"""

from .attention import CaptureError, capture_attention
from .loading import (
    build_causal_lm,
    disable_dropout,
    load_causal_lm,
    load_classifier,
    new_classifier,
)
from .policy import PolicyOutput, PolicyWithValueHead, response_logits
from .positions import last_positions, position_ids
from .reward_model import RewardModel, RewardOutput
from .tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_plain,
    encode_text,
    load_tokenizer,
    same_vocabulary,
    tokens_in_spans,
    train_tokenizer,
)

__all__ = [
    "CaptureError",
    "PolicyOutput",
    "PolicyWithValueHead",
    "RewardModel",
    "RewardOutput",
    "add_pad_token",
    "bos_prefix",
    "build_causal_lm",
    "capture_attention",
    "disable_dropout",
    "encode_plain",
    "encode_text",
    "last_positions",
    "load_causal_lm",
    "load_classifier",
    "load_tokenizer",
    "new_classifier",
    "position_ids",
    "response_logits",
    "same_vocabulary",
    "tokens_in_spans",
    "train_tokenizer",
]
