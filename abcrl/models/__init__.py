"""The only room that loads transformers models and tokenizers.

Policy with value head, reward model, and the capture of attention rows from both.
"""

from .attention import CaptureError, capture_attention
from .byte_spans import DecodedResponse, decode_response, token_bytes
from .loading import (
    disable_dropout,
    embedding_rows,
    give_pad_token,
    load_causal_lm,
    load_classifier,
    new_classifier,
)
from .policy import PolicyOutput, PolicyWithValueHead, response_logits
from .positions import last_positions, position_ids
from .reward_model import RewardModel, RewardOutput
from .reward_text import (
    Reading,
    RewardInputs,
    RewardText,
    byte_overlap,
    continue_prompt,
    read_response,
    read_responses,
)
from .scratch import build_causal_lm, require_buildable
from .tokenizers import (
    add_pad_token,
    bos_prefix,
    encode_batch,
    encode_plain,
    load_tokenizer,
    shares_ids,
    tokenizer_identity,
    tokens_in_spans,
    train_tokenizer,
)

__all__ = [
    "CaptureError",
    "DecodedResponse",
    "PolicyOutput",
    "PolicyWithValueHead",
    "Reading",
    "RewardInputs",
    "RewardModel",
    "RewardOutput",
    "RewardText",
    "add_pad_token",
    "bos_prefix",
    "build_causal_lm",
    "byte_overlap",
    "capture_attention",
    "continue_prompt",
    "decode_response",
    "disable_dropout",
    "embedding_rows",
    "encode_batch",
    "encode_plain",
    "give_pad_token",
    "last_positions",
    "load_causal_lm",
    "load_classifier",
    "load_tokenizer",
    "new_classifier",
    "position_ids",
    "read_response",
    "read_responses",
    "require_buildable",
    "response_logits",
    "shares_ids",
    "token_bytes",
    "tokenizer_identity",
    "tokens_in_spans",
    "train_tokenizer",
]
